"""Read and show data of unknown origin: texts, tables, torch's pickles, model configurations."""

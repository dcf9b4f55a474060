"""Reading and showing what somebody else may have made: texts, tables, pickles of torch, configurations of models."""

"""The embedded world: captions from a grammar, a renderer, an exact judge, and the models trained on them."""

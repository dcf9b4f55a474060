"""Define the world of scenes: a grammar of captions, a renderer, and an exact judge."""

"""The world itself: a grammar of captions, a renderer, and an exact judge."""

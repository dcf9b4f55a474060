"""Define preference models (protocol), find them by name (registry), and score images (scoring)."""

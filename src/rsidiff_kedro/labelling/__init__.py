"""Let a person choose between two images of a prompt, and compare rewards with these votes."""

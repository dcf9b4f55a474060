"""Numbers about sets of images: reference distributions and weights, diversity, distances, intervals."""

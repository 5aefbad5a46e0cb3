"""Token merging and pruning: a wrapper that shortens the image tower's sequence on the way."""

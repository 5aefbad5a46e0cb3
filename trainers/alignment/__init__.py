"""Locality alignment of an image tower on images without labels: sources, the training, and its report."""

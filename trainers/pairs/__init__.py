"""One training on image-text pairs, and what it changed."""

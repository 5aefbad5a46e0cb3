"""One training on the user's own images."""

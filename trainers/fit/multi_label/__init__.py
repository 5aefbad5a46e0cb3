"""One training on the user's own images with several labels each."""

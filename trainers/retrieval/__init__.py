"""Retrieval: galleries of images or texts on disk, and the towers that fill and search them."""

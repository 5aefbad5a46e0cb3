"""Queries of composed image retrieval: an image, what shall be different, and the images that are meant."""

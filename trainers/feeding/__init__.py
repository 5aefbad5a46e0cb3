"""Feeding: images on disk become the features, tokens or pixels that a method consumes."""

"""Describe the papers' data sets, find them on disk and split them."""

"""How a data set of the papers is described, found on disk and split."""

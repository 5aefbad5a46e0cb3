"""The choice of a method for own images: candidates, folds, successive halving, a refit."""

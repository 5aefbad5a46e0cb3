"""The frozen model, and every way in which it is loaded."""

"""Distil a small student from a frozen CLIP: recipes, views, the training, and shots of new classes."""

"""Experiments of one plugin; nothing else uses them."""

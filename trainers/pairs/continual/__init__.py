"""Pairs that come in phases: train one phase after the other, and say what of the earlier ones is forgotten."""

"""Artefacts: a saved method as files."""

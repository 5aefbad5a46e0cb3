"""Experiments around FDT."""

"""Rows of unit features on disk: sharded files that are memory-mapped, and their search."""

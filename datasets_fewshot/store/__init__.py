"""Encoded features on disk, shared by processes."""

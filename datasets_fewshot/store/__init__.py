"""Encoded features on disk, shared by several processes."""

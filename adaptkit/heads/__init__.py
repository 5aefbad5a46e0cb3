"""Heads: what stands behind the towers and answers something else than a class, one per file."""

__all__: list[str] = []

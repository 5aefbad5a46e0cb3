"""Heads: what stands behind the towers and answers something else than a class, one per file."""

from adaptkit.heads.uniqa_adapter import UniQAAdapter, UniQAAdapterConfig

__all__ = ["UniQAAdapter", "UniQAAdapterConfig"]

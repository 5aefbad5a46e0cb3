"""Every setting as a field of a dataclass, and the files that fill them."""

from trainers.config.load import load_bench

__all__ = ["load_bench"]

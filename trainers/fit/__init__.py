"""One training on the user's own images."""

from trainers.fit.entry import fit

__all__ = ["fit"]

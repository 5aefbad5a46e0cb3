"""One training on the user's own images."""

from trainers.fit.main import fit

__all__ = ["fit"]

"""A distribution of its own with a method, a wrapper, an objective and a data set for adaptkit."""

from my_methods import bias, pictures, push, scale

__all__ = ["bias", "pictures", "push", "scale"]

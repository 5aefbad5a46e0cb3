"""A distribution of its own with a method, a wrapper, an objective, a protocol and a data set."""

from my_methods import bias, memory, pictures, push, scale

__all__ = ["bias", "memory", "pictures", "push", "scale"]

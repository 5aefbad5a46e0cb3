"""Every setting as a field of a dataclass, and the files that fill them."""

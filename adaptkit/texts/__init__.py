"""Methods that work on the side of the classes: what is said of them in words."""

__all__: list[str] = []

"""A saved method as files."""

"""One run: its identity, its data, its computation and its record."""

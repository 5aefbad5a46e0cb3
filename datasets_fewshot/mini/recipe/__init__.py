"""How the embedded suite was made: fetch, rasterise, pairs, assemble; each runs with `python -m`."""

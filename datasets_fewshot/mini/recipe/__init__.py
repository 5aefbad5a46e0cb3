"""The recipe of the embedded suite: fetch, rasterise, pairs, assemble; each step runs with `python -m`."""

"""Build scripts of the embedded suite: fetch, rasterise, pairs, assemble; each runs as `python -m`, none is needed at run time."""

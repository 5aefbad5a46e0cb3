"""Serve an adapter or an index over HTTP: a page of each, a few endpoints, no state."""

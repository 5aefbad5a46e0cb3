"""Serve an adapter over HTTP: one page, one endpoint, no state."""

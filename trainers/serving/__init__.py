"""An adapter behind HTTP: one page, one endpoint, no state."""

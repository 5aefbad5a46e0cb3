"""The processor's side of a run: precision, seeds, processes that train together, memory, seconds."""

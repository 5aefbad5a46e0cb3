"""The machine's side of a run: device, precision, seeds, processes that train together, memory and time."""

"""One training: steps, optimisers, checkpoints."""

"""Uses of a trained method: export, merged weights, explanations, and other people's checkpoints."""

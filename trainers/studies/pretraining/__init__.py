"""Training of the embedded backbone, and contrastive training in general."""

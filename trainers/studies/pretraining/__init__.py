"""How the embedded backbone was trained, and contrastive training in general."""

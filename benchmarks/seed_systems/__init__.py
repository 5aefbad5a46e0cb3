"""What the seed papers' systems claim, and what is measured of it on the embedded suite: one module a system."""

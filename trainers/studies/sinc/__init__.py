"""Meta-training of SINC's in-context classifier on labelled features."""

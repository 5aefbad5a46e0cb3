"""ImageNet and its other test sets, one loader per file."""

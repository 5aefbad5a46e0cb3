"""ImageNet and its other test sets, one loader a file."""

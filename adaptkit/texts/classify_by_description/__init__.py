"""Classification by description: options, the method, and what its descriptors contribute."""

"""What a method promises, and how methods are found, made and loaded."""

"""Commands that are killed again and again, started again, and held against undisturbed ones."""

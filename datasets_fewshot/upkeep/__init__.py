"""Check, prepare and import data sets."""

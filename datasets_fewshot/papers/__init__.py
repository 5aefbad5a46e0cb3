"""The papers' data sets, one loader per file."""

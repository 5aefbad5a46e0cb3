"""The papers' data sets, one loader a file."""

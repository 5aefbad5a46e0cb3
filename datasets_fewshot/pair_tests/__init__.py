"""Pair tests: images with true and false texts, read from the published layouts, from tables and from lines of JSON."""

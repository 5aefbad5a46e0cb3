"""Naming images without a list of classes: the shipped word lists, made from open sources."""

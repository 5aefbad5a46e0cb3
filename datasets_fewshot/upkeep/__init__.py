"""Checking, preparing and importing data sets."""

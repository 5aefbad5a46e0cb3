"""Scores of pair tests: pure functions of features, item by item, with intervals and a test between two models."""

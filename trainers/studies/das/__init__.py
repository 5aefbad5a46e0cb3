"""Experiments around DAS."""

"""Experiments on FDT: ablations, and pictures of its tokens."""

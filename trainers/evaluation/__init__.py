"""Evaluation: from logits to scores."""

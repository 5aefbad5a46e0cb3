"""The verbs that use a saved adapter."""

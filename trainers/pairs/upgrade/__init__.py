"""XBT: fit an upgrade from an old model to a new one on captions and pairs, and report what it is worth."""

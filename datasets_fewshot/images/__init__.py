"""Read images from folders and archives, and turn them into tensors."""

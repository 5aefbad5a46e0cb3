"""Reading images from folders and archives, and turning them into tensors."""

"""The division of images into parts: split files, few-shot draws, validation of splits, and hashes of image files."""

"""What next: labels to check, images that are there twice, classes that look alike, and images worth a label."""

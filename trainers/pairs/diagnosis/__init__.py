"""What a training broke and what it mended: pair tests, recall and zero-shot accuracy before and after, and a page."""

"""Which image belongs to which part: split files, few-shot draws, validation parts, and a hash of them."""

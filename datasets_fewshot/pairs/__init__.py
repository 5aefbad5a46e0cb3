"""Images with captions: read from tables, Karpathy's JSON, imagefolders and shards, and divided by groups."""

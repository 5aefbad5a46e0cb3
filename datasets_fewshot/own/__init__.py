"""Load the user's own images from folders, tables, archives and shards."""

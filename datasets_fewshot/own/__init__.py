"""The user's own images: folders, tables, archives and shards."""

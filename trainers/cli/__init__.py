"""The `adaptkit` command, one verb a file."""

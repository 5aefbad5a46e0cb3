"""Ends of ranges that options of the command and settings share."""

MOST_SEED = 2**32 - 1  # numpy's
MOST_REPLICAS = 1024  # trainings side by side
MOST_PROCESSES = 1024  # threads or processes; with many more, the operating system ends the command

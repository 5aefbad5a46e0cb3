"""Version of this distribution, read without importing anything else."""

VERSION = "0.1.0"

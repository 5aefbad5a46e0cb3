"""The version of this distribution, without importing anything else."""

VERSION = "0.1.0"

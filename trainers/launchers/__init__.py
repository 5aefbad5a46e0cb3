"""Launchers: ways to have the runs of a matrix computed. See `base` for what they share."""

from trainers.launchers.base import Event, Job, Launcher, LaunchError, Place, Tell, Work
from trainers.launchers.local import InProcess, Local

__all__ = ["Event", "InProcess", "Job", "LaunchError", "Launcher", "Local", "Place", "Tell", "Work"]

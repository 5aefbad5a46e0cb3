"""The folder for files that can be made again: features, folder indexes, results of image checks."""

import os
from pathlib import Path

from adaptkit.regular_file import user_path


def cache_folder() -> Path:
    """Return `$ADAPTKIT_CACHE`, else `adaptkit` in the user's cache folder; the folder need not exist yet."""
    chosen = os.environ.get("ADAPTKIT_CACHE")
    if chosen:
        return user_path(chosen, "folder in ADAPTKIT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "adaptkit"

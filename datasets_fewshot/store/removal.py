"""Removing what we wrote, and nothing else.

A folder that is ours may hold files that are not: notes, a link, the work of another program. What is removed is named
by its file names; links are never followed; a folder goes when it is empty; what stays is said.
"""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Files that were being written when their process died, as `replacing` names them (earlier versions without the
# machine), and claims that were being taken over, as filelock names them.
HALF_WRITTEN = r"\..+\.(([0-9a-f]{8}-)?\d+-[0-9a-f]+|(break|restore)\.\d+\.[0-9a-f]{32})"


@dataclass(frozen=True)
class Removal:
    """What of a folder would be removed, and what stays."""

    folder: Path
    ours: tuple[Path, ...]  # Regular files.
    folders: tuple[Path, ...]  # Folders to leave when they are empty, the inner ones first.
    foreign: tuple[Path, ...]  # Everything else, links among it.

    def carry_out(self) -> None:
        """Remove our files, and the folders that are then empty."""
        for path in self.ours:
            if not path.is_symlink():  # It may have become one since.
                path.unlink(missing_ok=True)
        for folder in self.folders:
            with contextlib.suppress(OSError):  # It holds something, or is gone.
                folder.rmdir()

    def lines(self) -> list[str]:
        """What stays, in words."""
        return [f"kept {path}: adaptkit did not write it" for path in self.foreign]


def plan_removal(folder: Path, names: Sequence[str], below: Sequence[tuple[str, Sequence[str]]] = ()) -> Removal:
    """Plan the removal of a folder's files by name.

    Args:
        names: regular expressions of whole file names that are ours.
        below: folders in it that are ours as well, each with the names in it.

    Raises:
        FileNotFoundError: if the folder is none, or is a link to one.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise FileNotFoundError(f"{str(folder)!r} is no folder of its own; links are not followed")
    inner = dict(below)
    ours, folders, foreign = list[Path](), list[Path](), list[Path]()
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            foreign.append(path)
        elif path.is_dir() and path.name in inner:
            plan = plan_removal(path, inner[path.name])
            ours, folders, foreign = [*ours, *plan.ours], [*folders, *plan.folders], [*foreign, *plan.foreign]
        elif path.is_file() and any(re.fullmatch(name, path.name) for name in (*names, HALF_WRITTEN)):
            ours.append(path)
        else:
            foreign.append(path)
    return Removal(folder, tuple(ours), (*folders, folder), tuple(foreign))

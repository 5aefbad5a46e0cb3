"""Look around in folders: subfolders by name in any case, folders nested in one of their own name, any image."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from datasets_fewshot.images.read import IMAGE_SUFFIXES

DEEPEST = 4  # levels of folders above the images of a data set


def subfolders(folder: Path) -> Iterator[Path]:
    """The folders in a folder, sorted, without hidden ones; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_shown(entry.name) and entry.is_dir())
    except OSError:
        return
    for name in names:
        yield folder / name


def subfolder(folder: Path, name: str) -> Path | None:
    """The subfolder of that name, else the only one whose name differs in nothing but case, else None."""
    if (folder / name).is_dir():
        return folder / name
    alike = [path for path in subfolders(folder) if path.name.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def doubled(folder: Path) -> Path | None:
    """The folder in a folder, if it is the only thing there that counts and bears the same name, else None."""
    try:
        with os.scandir(folder) as entries:
            counting = (e.name for e in entries if _is_shown(e.name) and (e.is_dir() or _is_image(e)))
            shown = list(islice(counting, 2))
    except OSError:
        return None
    return folder / shown[0] if len(shown) == 1 and shown[0].casefold() == folder.name.casefold() else None


def holds_images(folder: Path, depth: int = DEEPEST) -> bool:
    """Whether there is an image in the folder or up to `depth` levels below it; stops at the first."""
    try:
        with os.scandir(folder) as entries:
            below = []
            for entry in entries:
                if _is_image(entry):
                    return True
                if _is_shown(entry.name) and entry.is_dir():
                    below.append(Path(entry.path))
    except OSError:
        return False
    return depth > 0 and any(holds_images(path, depth - 1) for path in below)


def _is_shown(name: str) -> bool:
    return not name.startswith((".", "__MACOSX"))


def _is_image(entry: "os.DirEntry[str]") -> bool:
    return Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()

"""The image names in each subfolder of a folder, remembered after the first scan.

Listing 1.3 million files takes minutes on a network disk. The remembered index is used as long as no subfolder has
changed: adding, removing or renaming a file changes its folder's time of modification.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from adaptkit.regular_file import read_json
from datasets_fewshot.images.read import IMAGE_SUFFIXES
from datasets_fewshot.store.cache_folder import cache_folder

FORMAT = 2  # 1 had the files whose names begin with a dot


def index_folders(image_root: Path) -> dict[str, list[str]]:
    """Map subfolder -> image names, both sorted; hidden folders are left out."""
    times = _folder_times(image_root)
    file = cache_folder() / "indexes" / f"{hashlib.sha256(str(image_root.resolve()).encode()).hexdigest()[:32]}.json"
    known = _read(file, times)
    if known is not None:
        return known
    names = {folder: _image_names(image_root / folder) for folder in times}
    with contextlib.suppress(OSError):  # without the stored index the next scan is slow, and nothing else changes
        _write(file, {"format": FORMAT, "times": times, "names": names})
    return names


def _folder_times(root: Path) -> dict[str, int]:
    with os.scandir(root) as entries:
        times = {
            entry.name: entry.stat().st_mtime_ns
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".")
        }
    return dict(sorted(times.items()))


def _image_names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]  # "._1.png" is no image of a Mac's
    return sorted(name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES)


def _read(file: Path, times: dict[str, int]) -> dict[str, list[str]] | None:
    try:
        content = read_json(file, "index of a folder")
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("times") != times:
        return None
    names = content.get("names")
    is_sound = isinstance(names, dict) and names.keys() == times.keys() and all(map(_are_names, names.values()))
    return names if is_sound else None


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _write(file: Path, content: dict[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    temporary.replace(file)

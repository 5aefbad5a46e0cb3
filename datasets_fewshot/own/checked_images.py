"""Look at every image once: which cannot be read, and which have the same pixels. The result is stored."""

import contextlib
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from adaptkit.regular_file import read_json
from datasets_fewshot.dataset import Item
from datasets_fewshot.images.read import BadImageError, load_image
from datasets_fewshot.splits.files_hash import files_hash
from datasets_fewshot.store.cache_folder import cache_folder


@dataclass(frozen=True)
class Checked:
    """What was seen of a set of images; paths are relative to its root."""

    bad: frozenset[str] = frozenset()  # cannot be decoded to the last row
    same: tuple[tuple[str, ...], ...] = ()  # groups of images with equal pixels


def check_images(image_root: Path, paths: Sequence[str]) -> Checked:
    """Decode all images, or read what was found when they were decoded last."""
    digest = files_hash(image_root, [Item(path, 0, "") for path in paths])
    file = cache_folder() / "checked" / f"{digest[:32]}.json"
    known = _read(file, frozenset(paths))
    if known is not None:
        return known
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL lets other threads run while it decodes
        pixels = pool.map(lambda path: _pixels_hash(image_root / path), paths)
        groups: dict[str | None, list[str]] = defaultdict(list)
        for path, found in zip(paths, pixels, strict=True):
            groups[found].append(path)
    bad = groups.pop(None, [])
    same = [group for group in groups.values() if len(group) > 1]
    with contextlib.suppress(OSError):  # if this fails, the next load decodes again and nothing else changes
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"bad": sorted(bad), "same": same}), encoding="utf-8")
        temporary.replace(file)
    return Checked(frozenset(bad), tuple(tuple(group) for group in same))


def _read(file: Path, paths: frozenset[str]) -> Checked | None:
    """What an earlier check of these images has stored; None if there is nothing, or something else."""
    try:
        stored = read_json(file, "result of a check of images")
        if not isinstance(stored, dict):
            return None
        found = Checked(frozenset(stored["bad"]), tuple(tuple(group) for group in stored["same"]))
        is_sound = found.bad.union(*found.same) <= paths
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if is_sound else None


def _pixels_hash(path: Path) -> str | None:
    """A hash of the image's size and pixels; None if it cannot be read."""
    try:
        image = load_image(path, "upright")
    except BadImageError:
        return None
    return hashlib.blake2b(f"{image.size} ".encode() + image.tobytes(), digest_size=16).hexdigest()

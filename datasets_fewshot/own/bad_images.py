"""Find unreadable images; the result is stored, so that a set of files is decoded only once."""

import contextlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from datasets_fewshot.dataset import Item
from datasets_fewshot.images.read import BadImageError, load_image
from datasets_fewshot.splits.files_hash import files_hash
from datasets_fewshot.store.cache_folder import cache_folder


def find_bad_images(image_root: Path, paths: Sequence[str]) -> frozenset[str]:
    """Return the paths, relative to the root, of the images that cannot be decoded to the last row."""
    digest = files_hash(image_root, [Item(path, 0, "") for path in paths])
    file = cache_folder() / "checked" / f"{digest[:32]}.json"
    with contextlib.suppress(OSError, ValueError):
        return frozenset(json.loads(file.read_text(encoding="utf-8")))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL lets other threads run while it decodes
        readable = pool.map(lambda path: _is_readable(image_root / path), paths)
        bad = frozenset(path for path, good in zip(paths, readable, strict=True) if not good)
    with contextlib.suppress(OSError):  # if this fails, the next load decodes again and nothing else changes
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.write_text(json.dumps(sorted(bad)), encoding="utf-8")
        temporary.replace(file)
    return bad


def _is_readable(path: Path) -> bool:
    try:
        load_image(path, "upright")
    except BadImageError:
        return False
    return True

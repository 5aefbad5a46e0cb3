"""A hash of the image files themselves, for keys of what was computed from them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from datasets_fewshot.archives import archive_at, member_checksums
from datasets_fewshot.dataset import Item


def files_hash(image_root: Path, items: Iterable[Item]) -> str:
    """SHA-256 in hex over the files in order: path, size and change time, or an archive member's own checksum.

    Two data sets with equal relative paths, or one whose images were replaced, get different hashes; labels and
    names do not enter, because features do not depend on them. A missing file counts as empty.
    """
    digest = hashlib.sha256()
    archive = archive_at(image_root)
    marks = member_checksums(archive) if archive else None
    for item in items:
        mark = marks.get(item.path, "") if marks is not None else _file_mark(image_root / item.path)
        digest.update(f"{item.path}\t{mark}\n".encode())
    return digest.hexdigest()


def _file_mark(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size}\t{status.st_mtime_ns}"

"""A hash of the image files themselves, for keys of results computed from them."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from datasets_fewshot.dataset import Item
from datasets_fewshot.images.archives import member_marks, split_archive

NOT_MOVED: Mapping[str, str] = MappingProxyType({})


def files_hash(image_root: Path, items: Iterable[Item], moved: Mapping[str, str] = NOT_MOVED) -> str:
    """SHA-256 in hex over the files in order: path, size and change time, or an archive's mark of the member.

    Two data sets with equal relative paths, or one whose images were replaced, get different hashes; labels and
    names do not enter, because features do not depend on them. A missing file counts as empty. `moved` says which
    files lie elsewhere than the items say.
    """
    digest = hashlib.sha256()
    archives: dict[str, dict[str, str]] = {}
    for item in items:
        archive, member = split_archive(f"{image_root.as_posix()}/{moved.get(item.path, item.path)}")
        if archive is None:
            mark = _file_mark(Path(member))
        else:
            if archive not in archives:
                archives[archive] = member_marks(archive)
            mark = archives[archive].get(member, "")
        digest.update(f"{item.path}\t{mark}\n".encode())
    return digest.hexdigest()


def _file_mark(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size}\t{status.st_mtime_ns}"

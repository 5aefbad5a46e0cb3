"""Read the bytes of a file that may lie inside a .zip or an uncompressed .tar archive.

Archives stay open, once per process: opening one means reading its whole table of members. A forked worker opens its
own, because parent and child would move one shared file position under each other.
"""

import lzma
import os
import tarfile
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from threading import Lock

from adaptkit.regular_file import read_bytes as read_regular

ARCHIVE_SUFFIXES = (".zip", ".tar")
MAX_OPEN_ARCHIVES = 64
MAX_IMAGE_BYTES = 2**28  # 256 MiB; the largest images of the papers' data sets have a tenth of it.
END_OF_TAR = bytes(tarfile.BLOCKSIZE)  # what stands behind the last member
# What the libraries raise of damaged, cut-off and encrypted archives; RuntimeError is zipfile's for the last.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


class _TarMembers:
    """Members of an uncompressed tar file, read by offset and so in any order."""

    def __init__(self, path: str):
        self._lock = Lock()
        self._file = Path(path).open("rb")  # noqa: SIM115  kept open for the life of the process
        self._changed = Path(path).stat().st_mtime_ns
        with tarfile.open(path, "r:") as tar:
            self._places = {member.name: (member.offset_data, member.size) for member in tar if member.isfile()}
            end = tar.offset
        self._file.seek(end)
        self.is_whole = self._file.read(tarfile.BLOCKSIZE) == END_OF_TAR

    def namelist(self) -> list[str]:
        return list(self._places)

    def marks(self) -> dict[str, str]:
        return {name: f"{offset} {size} {self._changed}" for name, (offset, size) in self._places.items()}

    def size(self, name: str) -> int:
        return self._places[name][1]

    def read(self, name: str) -> bytes:
        offset, size = self._places[name]
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size)


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file, or of an archive's member when a parent of `path` is an archive.

    Raises:
        FileNotFoundError: if there is no such file, or the archive has no such member.
        ValueError: if it is a pipe, a device or a folder.
        OSError: if the archive is damaged or encrypted.
    """
    archive, member = split_archive(path)
    if archive is None:
        return read_regular(path, "image", MAX_IMAGE_BYTES)
    try:
        return _read_member(_open_archive(archive), member)
    except KeyError:
        raise FileNotFoundError(f"archive {archive!r} has no member {member!r}") from None
    except DAMAGED as error:
        raise OSError(f"archive {archive!r} is damaged or encrypted ({member!r}: {error})") from error


def _read_member(archive: "zipfile.ZipFile | _TarMembers", member: str) -> bytes:
    """The bytes of a member; its size is checked before and while it is unpacked."""
    size = archive.getinfo(member).file_size if isinstance(archive, zipfile.ZipFile) else archive.size(member)
    if size > MAX_IMAGE_BYTES:
        raise ValueError(f"it has {size} bytes; at most {MAX_IMAGE_BYTES} are read")
    if isinstance(archive, zipfile.ZipFile):
        with archive.open(member) as file:
            return file.read(size)
    return archive.read(member)


def list_members(archive: str | Path) -> list[str]:
    """Names of an archive's files, in the order the archive holds them."""
    try:
        return [name for name in _open_archive(str(archive)).namelist() if not name.endswith("/")]
    except DAMAGED as error:
        raise OSError(f"archive {str(archive)!r} is damaged or compressed ({error}); plain .tar is read") from error


def is_whole(archive: str | Path) -> bool:
    """Whether a tar file goes on to its end mark, so that its list of members is complete; a zip file always does."""
    opened = _open_archive(str(archive))
    return isinstance(opened, zipfile.ZipFile) or opened.is_whole


def member_marks(archive: str) -> dict[str, str]:
    """Map member name -> a mark that changes with its bytes: a zip's CRC-32, or offset and file time in a tar."""
    opened = _open_archive(archive)
    if isinstance(opened, zipfile.ZipFile):
        return {info.filename: f"{info.file_size} {info.CRC:08x}" for info in opened.infolist()}
    return opened.marks()


def split_archive(path: str | Path) -> tuple[str | None, str]:
    """Split `a/b.zip/c/d.png` into ("a/b.zip", "c/d.png") if a/b.zip is a file; else return (None, path)."""
    text = Path(path).as_posix()
    for suffix in ARCHIVE_SUFFIXES:
        end = text.lower().find(suffix + "/")
        while end != -1:
            cut = end + len(suffix)
            if Path(text[:cut]).is_file():
                return text[:cut], text[cut + 1 :]
            end = text.lower().find(suffix + "/", cut)
    return None, text


def archive_at(path: str | Path) -> str | None:
    """Return the path as text if it is itself an archive, else None."""
    text = str(path)
    return text if text.lower().endswith(ARCHIVE_SUFFIXES) and Path(text).is_file() else None


def _open_archive(path: str) -> "zipfile.ZipFile | _TarMembers":
    status = Path(path).stat()
    return _open_once(path, os.getpid(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=MAX_OPEN_ARCHIVES)
def _open_once(path: str, pid: int, mtime_ns: int, size: int) -> "zipfile.ZipFile | _TarMembers":
    """Open an archive, cached; `pid`, `mtime_ns` and `size` tell processes and versions of the file apart."""
    return zipfile.ZipFile(path) if path.lower().endswith(".zip") else _TarMembers(path)

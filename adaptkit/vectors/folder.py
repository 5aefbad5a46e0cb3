"""An index as a folder: lines of text, where each ends, rows in sharded files, and JSON that says what they are.

    index/
        meta.json                  what made the rows, and the SHA-256 of every other file
        <lines>                    one line for each row, UTF-8
        <ends>                     (N,) int64, the byte behind each line
        embeddings_00000.npy ...   (n, D) float16, unit rows, in the order of the lines

All but `meta.json` is memory-mapped, so an index may be larger than memory. The folder appears when all is written.
"""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from adaptkit.options import make
from adaptkit.regular_file import FileError, open_regular, read_json, said, user_path
from adaptkit.vectors.rows import Half

META_FILE = "meta.json"
SHARD_ROWS = 2**18
MAX_META_BYTES = 2**24


@dataclass(frozen=True)
class Layout:
    """How one kind of index is called, and how it calls its files."""

    what: str  # in messages, such as "index of captions"
    format: str
    version: int
    lines: str  # file names
    ends: str
    made_by: str  # the command that makes one


class Meta(Protocol):
    """The part of a `meta.json` that every index has."""

    @property
    def count(self) -> int: ...

    @property
    def dim(self) -> int: ...

    @property
    def files(self) -> dict[str, str]: ...  # name -> SHA-256, the shards in their order behind the lines and their ends

    @property
    def sha256(self) -> str: ...  # of these checksums together


AnyMeta = TypeVar("AnyMeta", bound=Meta)


@dataclass(frozen=True)
class Written:
    """What was written of an index, as `Meta` has it."""

    count: int
    dim: int
    files: dict[str, str]
    sha256: str


class MappedLines(Sequence[str]):
    """The lines of a memory-mapped file, by number.

    Args:
        content: its bytes.
        ends: (N,) the byte behind each line.
    """

    def __init__(self, content: np.ndarray, ends: np.ndarray):
        self.content, self.ends = content, ends

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]  # int -> str, slice -> list[str]
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        start = 0 if place == 0 else int(self.ends[place - 1]) + 1
        return bytes(self.content[start : int(self.ends[place])]).decode("utf-8")


@contextmanager
def new_folder(folder: str | Path, layout: Layout) -> Iterator[Path]:
    """A temporary folder that takes its place when all went well, and is gone otherwise.

    Raises:
        FileExistsError: if the place is taken.
    """
    folder = user_path(folder, layout.what)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; give a folder that is not, or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # a temporary folder is its owner's alone
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_rows(folder: Path, layout: Layout, shards: Iterable[tuple[Sequence[str], Half]]) -> Written:
    """Write lines and their rows (n, D), a file of rows for each part.

    Raises:
        ValueError: if there are none.
    """
    ends: list[int] = []
    names: list[str] = []
    size = dim = 0
    with (folder / layout.lines).open("wb") as texts:
        for lines, rows in shards:
            for line in lines:
                content = line.encode("utf-8")
                texts.write(content + b"\n")
                ends.append(size + len(content))
                size += len(content) + 1
            dim = rows.shape[1]
            names.append(f"embeddings_{len(names):05}.npy")
            np.save(folder / names[-1], rows)
    if not ends:
        raise ValueError(f"there is nothing to put into the {layout.what}; give one entry at least")
    np.save(folder / layout.ends, np.array(ends, dtype=np.int64))
    files = {name: _sha256(folder / name, layout.what) for name in (layout.lines, layout.ends, *names)}
    return Written(len(ends), dim, files, _of(files))


def write_meta(folder: Path, layout: Layout, facts: Mapping[str, object], written: Written) -> None:
    """Write `meta.json`: facts about an index, and what was written of it."""
    content = {"format": layout.format, "format_version": layout.version, **facts, **dataclasses.asdict(written)}
    (folder / META_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_meta(folder: str | Path, layout: Layout, kind: type[AnyMeta]) -> AnyMeta:
    """The `meta.json` of an index as a dataclass.

    Raises:
        FileNotFoundError: if the folder or the file is not there.
        FileError: if it is damaged, of another format, or from a later version.
    """
    place = user_path(folder, layout.what)
    if not place.is_dir():
        raise FileNotFoundError(f"there is no {layout.what} {said(folder)}; `{layout.made_by}` makes one")
    what = f"{META_FILE} of the {layout.what} {said(place)}"
    content = read_json(place / META_FILE, f"description of an {layout.what}", MAX_META_BYTES)
    if not isinstance(content, dict) or content.get("format") != layout.format:
        raise FileError(f"the {what} is none; `{layout.made_by}` makes an index")
    if content.get("format_version") != layout.version:
        raise FileError(
            f"the {what} has version {content.get('format_version')!r}, and this adaptkit reads {layout.version}; "
            "upgrade adaptkit, or build the index again"
        )
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    try:
        meta = make(kind, {name: content[name] for name in known})
    except (KeyError, ValueError) as error:
        raise FileError(f"the {what} is damaged ({error}); build the index again") from None
    inside = all(Path(name).name == name for name in meta.files)
    if not inside or not {layout.lines, layout.ends} <= meta.files.keys() or _of(meta.files) != meta.sha256:
        raise FileError(f"the {what} is damaged; build the index again")
    return meta


def open_rows(folder: str | Path, layout: Layout, meta: Meta, verify: bool) -> tuple[MappedLines, list[Half]]:
    """The lines and the shards of an index, memory-mapped.

    Args:
        verify: whether every file is read once, and its checksum compared.

    Raises:
        FileNotFoundError: if a file is not there.
        FileError: if one is damaged or altered.
    """
    place = user_path(folder, layout.what)
    for name, checksum in meta.files.items() if verify else ():
        if _sha256(place / name, layout.what) != checksum:
            raise FileError(f"{name} of the {layout.what} {said(folder)} was altered or damaged; build it again")
    ends = _mapped(place / layout.ends, layout.what, np.dtype(np.int64), (meta.count,))
    with open_regular(place / layout.lines, f"part of an {layout.what}") as file:
        content = np.memmap(file, dtype=np.uint8, mode="r")
    names = [name for name in meta.files if name not in (layout.lines, layout.ends)]
    shards: list[Half] = [_mapped(place / name, layout.what, np.dtype(np.float16), (None, meta.dim)) for name in names]
    if not shards or sum(map(len, shards)) != meta.count or int(ends[-1]) + 1 != len(content):
        raise FileError(f"the files of the {layout.what} {said(folder)} do not belong together; build it again")
    return MappedLines(content, ends), shards


def _mapped(path: Path, what: str, dtype: np.dtype, shape: tuple[int | None, ...]) -> np.ndarray:
    """A .npy file as a read-only map; None stands for a side of any length."""
    with open_regular(path, f"part of an {what}") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            its_shape, by_columns, its_dtype = read(file)
        except ValueError as error:
            raise FileError(f"{said(path)} is no .npy file ({error}); build the index again") from None
        fits = len(its_shape) == len(shape) and all(b in (None, a) for a, b in zip(its_shape, shape, strict=True))
        if its_dtype != dtype or by_columns or not fits or its_shape[0] == 0:
            raise FileError(
                f"{said(path)} holds {its_dtype} of shape {its_shape}, and the index needs {dtype} of shape "
                f"{tuple('n' if side is None else side for side in shape)}; build it again"
            )
        start = file.tell()
        if path.stat().st_size != start + dtype.itemsize * int(np.prod(its_shape)):
            raise FileError(f"{said(path)} was cut off; build the index again")
        return np.memmap(file, dtype=dtype, mode="r", offset=start, shape=its_shape)


def _sha256(path: Path, what: str) -> str:
    digest = hashlib.sha256()
    with open_regular(path, f"part of an {what}") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _of(files: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{checksum}  {name}" for name, checksum in files.items()).encode()).hexdigest()

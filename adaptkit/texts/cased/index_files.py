"""Captions and indexes of them as files: reading lists of captions, building an index, and opening one."""

import dataclasses
import gzip
import hashlib
import io
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.options import make
from adaptkit.regular_file import FileError, open_regular, read_json, said, user_path
from adaptkit.texts.cased.index import TEMPLATE, CaptionIndex, Encoder, Half, encoder_of, half_rows, tidied

FORMAT, FORMAT_VERSION = "adaptkit-captions", 1
META_FILE, CAPTIONS_FILE, ENDS_FILE = "meta.json", "captions.txt", "caption_ends.npy"
SHARD_ROWS = 2**18
MAX_META_BYTES = 2**24
PARQUET_COLUMN = "caption"


@dataclasses.dataclass(frozen=True)
class Meta:
    """The content of `meta.json`."""

    format: str
    format_version: int
    model: str
    pretrained: str | None
    weights_sha256: str
    dtype: str
    template: str
    count: int
    dim: int
    files: dict[str, str]  # name -> SHA-256, the shards in their order behind the captions and their ends
    sha256: str  # of these checksums together: what a head remembers of its index

    @property
    def shards(self) -> list[str]:
        """Names of the files of rows, in order."""
        return [name for name in self.files if name not in (CAPTIONS_FILE, ENDS_FILE)]


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


def read_captions(path: str | Path) -> Iterator[str]:
    """The captions of a text file, one a line, packed by gzip or not, or of the column `caption` of a Parquet file.

    Raises:
        FileNotFoundError, FileError: if it cannot be read, or is none of these.
        ImportError: if it is a Parquet file and pyarrow is not installed.
    """
    suffix = user_path(path, "file of captions").suffix
    with open_regular(path, "file of captions") as file:
        if suffix == ".parquet":
            yield from _parquet(file, path)
            return
        try:
            with gzip.open(file) if suffix == ".gz" else file as content:
                lines = io.TextIOWrapper(content, encoding="utf-8-sig")
                yield from (tidy for line in lines if (tidy := tidied(line)))
        except UnicodeDecodeError as error:
            raise FileError(f"the file of captions {said(path)} is not text in UTF-8 ({error}); save it so") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileError(f"the file of captions {said(path)} is damaged ({error}); get another copy") from None


def _parquet(file: BinaryIO, path: str | Path) -> Iterator[str]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError(f"{said(path)} needs pyarrow: pip install pyarrow; or give a text file of captions") from None
    try:
        table = pyarrow.parquet.ParquetFile(file)
        if PARQUET_COLUMN not in table.schema_arrow.names:
            raise FileError(
                f"the file of captions {said(path)} has the columns {', '.join(table.schema_arrow.names)}; "
                f"expected one called {PARQUET_COLUMN}"
            )
        for batch in table.iter_batches(columns=[PARQUET_COLUMN]):
            yield from (tidy for value in batch.column(0).to_pylist() if value and (tidy := tidied(str(value))))
    except pyarrow.ArrowException as error:
        raise FileError(f"the file of captions {said(path)} is no readable Parquet file ({error})") from None


def build_index(
    captions: Iterable[str],
    backbone: FrozenCLIP,
    folder: str | Path,
    template: str = TEMPLATE,
    shard_rows: int = SHARD_ROWS,
) -> CaptionIndex:
    """Encode captions into an index on disk, and open it; the folder appears when all of it is written.

    Args:
        template: what is encoded of each caption; the paper's captions stand alone.
        shard_rows: captions per file of rows.

    Raises:
        FileExistsError: if the folder is there.
        ValueError: if there are no captions.

    Example:
        ```python
        from adaptkit.texts.cased import build_index

        backbone = adaptkit.load_backbone("adaptkit-mini")
        index = build_index(["a cat on a mat", "a violin"], backbone, "my_captions")
        ```
    """
    folder = user_path(folder, "index of captions")
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; give a folder that is not, or remove it first")
    encoder = encoder_of(backbone, template)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write(captions, backbone, encoder, temporary, shard_rows)
        temporary.chmod(0o755)  # a temporary folder is its owner's alone
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return open_index(folder, verify=False)


def _write(captions: Iterable[str], backbone: FrozenCLIP, encoder: Encoder, folder: Path, shard_rows: int) -> None:
    remaining = (tidy for caption in captions if (tidy := tidied(caption)))
    ends: list[int] = []
    names: list[str] = []
    size = dim = 0
    with (folder / CAPTIONS_FILE).open("wb") as texts:
        while part := list(islice(remaining, shard_rows)):
            for caption in part:
                line = caption.encode("utf-8")
                texts.write(line + b"\n")
                ends.append(size + len(line))
                size += len(line) + 1
            rows = half_rows(backbone, part, encoder.template)
            dim = rows.shape[1]
            names.append(f"embeddings_{len(names):05}.npy")
            np.save(folder / names[-1], rows)
    if not ends:
        raise ValueError("there are no captions; give one a line")
    np.save(folder / ENDS_FILE, np.array(ends, dtype=np.int64))
    files = {name: _sha256(folder / name) for name in (CAPTIONS_FILE, ENDS_FILE, *names)}
    meta = Meta(
        FORMAT, FORMAT_VERSION, **dataclasses.asdict(encoder), count=len(ends), dim=dim, files=files, sha256=_of(files)
    )
    (folder / META_FILE).write_text(json.dumps(dataclasses.asdict(meta), indent=1) + "\n", encoding="utf-8")


def open_index(folder: str | Path, verify: bool = True) -> CaptionIndex:
    """An index that `build_index` wrote.

    Args:
        verify: whether every file is read once, and its checksum compared.

    Raises:
        FileNotFoundError: if it is not there, or one of its files is not.
        FileError: if a file is damaged, altered, or from a later version.
    """
    place = user_path(folder, "index of captions")
    if not place.is_dir():
        raise FileNotFoundError(
            f"there is no index of captions {said(folder)}; `adaptkit captions build FILE --out INDEX` makes one"
        )
    meta = _meta(place)
    for name, checksum in meta.files.items() if verify else ():
        if _sha256(place / name) != checksum:
            raise FileError(f"{name} of the index of captions {said(folder)} was altered or damaged; build it again")
    ends = _mapped(place / ENDS_FILE, np.dtype(np.int64), (meta.count,))
    with open_regular(place / CAPTIONS_FILE, "file of captions") as file:
        content = np.memmap(file, dtype=np.uint8, mode="r")
    shards: list[Half] = [_mapped(place / name, np.dtype(np.float16), (None, meta.dim)) for name in meta.shards]
    if not shards or sum(map(len, shards)) != meta.count or int(ends[-1]) + 1 != len(content):
        raise FileError(f"the files of the index of captions {said(folder)} do not belong together; build it again")
    encoder = Encoder(meta.model, meta.pretrained, meta.weights_sha256, meta.dtype, meta.template)
    return CaptionIndex(place.name, MappedLines(content, ends), shards, encoder, meta.sha256)


def _meta(place: Path) -> Meta:
    what = f"{META_FILE} of the index of captions {said(place)}"
    content = read_json(place / META_FILE, "description of an index of captions", MAX_META_BYTES)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileError(f"the {what} is none; `adaptkit captions build FILE --out INDEX` makes an index")
    if content.get("format_version") != FORMAT_VERSION:
        raise FileError(
            f"the {what} has version {content.get('format_version')!r}, and this adaptkit reads {FORMAT_VERSION}; "
            "upgrade adaptkit, or build the index again"
        )
    known = {field.name for field in dataclasses.fields(Meta)}
    try:
        meta = make(Meta, {name: content[name] for name in known})
    except (KeyError, ValueError) as error:
        raise FileError(f"the {what} is damaged ({error}); build the index again") from None
    inside = all(Path(name).name == name for name in meta.files)
    if not inside or not {CAPTIONS_FILE, ENDS_FILE} <= meta.files.keys() or _of(meta.files) != meta.sha256:
        raise FileError(f"the {what} is damaged; build the index again")
    return meta


def _mapped(path: Path, dtype: np.dtype, shape: tuple[int | None, ...]) -> np.ndarray:
    """A .npy file as a read-only map; None stands for a side of any length."""
    with open_regular(path, "part of an index of captions") as file:
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


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path, "part of an index of captions") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _of(files: dict[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{checksum}  {name}" for name, checksum in files.items()).encode()).hexdigest()

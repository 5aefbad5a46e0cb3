"""Captions and indexes of them as files: reading lists of captions, building an index, and opening one."""

import dataclasses
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.regular_file import FileError, open_regular, said, user_path
from adaptkit.texts.cased.index import TEMPLATE, CaptionIndex, Encoder, encoder_of, half_rows, tidied
from adaptkit.vectors.folder import SHARD_ROWS, Layout, new_folder, open_rows, read_meta, write_meta, write_rows
from adaptkit.vectors.rows import Half

LAYOUT = Layout(
    what="index of captions",
    format="adaptkit-captions",
    version=1,
    lines="captions.txt",
    ends="caption_ends.npy",
    made_by="adaptkit captions build FILE --out INDEX",
)
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
    encoder = encoder_of(backbone, template)
    with new_folder(folder, LAYOUT) as temporary:
        written = write_rows(temporary, LAYOUT, _encoded(captions, backbone, template, shard_rows))
        write_meta(temporary, LAYOUT, dataclasses.asdict(encoder), written)
    return open_index(folder, verify=False)


def _encoded(
    captions: Iterable[str], backbone: FrozenCLIP, template: str, shard_rows: int
) -> Iterator[tuple[list[str], Half]]:
    remaining = (tidy for caption in captions if (tidy := tidied(caption)))
    while part := list(islice(remaining, shard_rows)):
        yield part, half_rows(backbone, part, template)


def open_index(folder: str | Path, verify: bool = True) -> CaptionIndex:
    """An index that `build_index` wrote.

    Args:
        verify: whether every file is read once, and its checksum compared.

    Raises:
        FileNotFoundError: if it is not there, or one of its files is not.
        FileError: if a file is damaged, altered, or from a later version.
    """
    meta = read_meta(folder, LAYOUT, Meta)
    captions, shards = open_rows(folder, LAYOUT, meta, verify)
    encoder = Encoder(meta.model, meta.pretrained, meta.weights_sha256, meta.dtype, meta.template)
    return CaptionIndex(user_path(folder, LAYOUT.what).name, captions, shards, encoder, meta.sha256)

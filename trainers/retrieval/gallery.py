"""A gallery: images or texts with their features on disk, which a text or an image is looked up in.

    index/
        meta.json                  the backbone and the adapter with their hashes, the SHA-256 of every other file
        items.txt                  one path below the images' folder, or one text, a line
        item_ends.npy              (N,) int64, the byte behind each line
        embeddings_00000.npy ...   (n, D) float16, unit rows, in the order of the lines

Files and search are those of indexes of captions (`adaptkit.vectors`).
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from adaptkit.contract.images import prepared
from adaptkit.regular_file import user_path
from adaptkit.vectors.folder import SHARD_ROWS, Layout, new_folder, open_rows, read_meta, write_meta, write_rows
from adaptkit.vectors.rows import Found, Half, UnitRows
from trainers.retrieval.sources import Entries, Kind, image_below
from trainers.retrieval.towers import MadeBy, PairTowers

LAYOUT = Layout(
    what="index",
    format="adaptkit-gallery",
    version=1,
    lines="items.txt",
    ends="item_ends.npy",
    made_by="adaptkit retrieve build DATA --out INDEX",
)
BATCH = 64
READERS = min(8, os.cpu_count() or 1)  # threads that read images


@dataclass(frozen=True)
class Meta:
    """The content of `meta.json`."""

    format: str
    format_version: int
    kind: Kind
    root: str  # folder that images are named below, where they were built; empty for texts
    model: str
    pretrained: str | None
    weights_sha256: str
    dtype: str
    adapter: str
    adapter_sha256: str
    count: int
    dim: int
    files: dict[str, str]
    sha256: str

    @property
    def made_by(self) -> MadeBy:
        """What made its features."""
        return MadeBy(**{field.name: getattr(self, field.name) for field in dataclasses.fields(MadeBy)})


class Searches(Protocol):
    """Rows that can be searched: exactly, or with faiss."""

    def search(self, queries: Tensor, count: int) -> Found: ...


@dataclass(frozen=True)
class Hit:
    """An entry that was found."""

    place: int  # in the gallery, counted from 0
    item: str  # path below the images' folder, or text
    similarity: float  # cosine


class Gallery:
    """Images or texts with features of one model.

    Args:
        name: how messages call it.
    """

    def __init__(self, name: str, meta: Meta, items: Sequence[str], shards: Sequence[Half]):
        self.name, self.meta, self.items = name, meta, items
        self.rows = UnitRows(shards)

    def __len__(self) -> int:
        return len(self.items)

    def image(self, place: int, root: Path | None = None) -> Path:
        """The file of an image, below the folder that it was built from or another one.

        Raises:
            ValueError: if its name leads out of the folder.
        """
        return image_below(Path(self.meta.root) if root is None else root, self.items[place])

    def check(self, towers: PairTowers) -> None:
        """Refuse a model whose features cannot be compared with these.

        Raises:
            ValueError: if it is another backbone or adapter, has other weights, or gives features of another width.
        """
        ours, theirs = self.meta.made_by, towers.made_by()
        same = ours.weights_sha256 == theirs.weights_sha256 and ours.adapter_sha256 == theirs.adapter_sha256
        if same and towers.width == self.rows.dim:
            return
        raise ValueError(
            f"the index {self.name!r} has features of width {self.rows.dim} by {ours}, and cannot be searched with "
            f"features of width {towers.width} by {towers.said}; name the model that built it, or build another one "
            "with `adaptkit retrieve build`"
        )

    def search(self, query: Tensor, top: int, by: Searches | None = None) -> list[Hit]:
        """The entries that are nearest to a feature (1, D), the nearest first.

        Args:
            by: what searches its rows; None compares every one.

        Raises:
            ValueError: if `top` is not from 1 to the number of entries.
        """
        if not 1 <= top <= len(self):
            raise ValueError(f"top={top}; the index {self.name!r} has {len(self)} entries, so give 1 to {len(self)}")
        found = (by or self.rows).search(query, top)
        nearest = zip(found.places[0].tolist(), found.scores[0].tolist(), strict=True)
        return [Hit(place, self.items[place], min(score, 1.0)) for place, score in nearest]


@dataclass(frozen=True)
class Built:
    """A new gallery, and the images that were left out because they cannot be read: one reason each."""

    gallery: Gallery
    unreadable: tuple[str, ...]


def build_gallery(
    entries: Entries,
    towers: PairTowers,
    folder: str | Path,
    *,
    skip_bad: bool = False,
    batch_size: int = BATCH,
    shard_rows: int = SHARD_ROWS,
) -> Built:
    """Encode entries into a gallery on disk; the folder appears when all of it is written.

    Args:
        skip_bad: leave out images that cannot be read.
        batch_size: entries that are encoded together.
        shard_rows: entries per file of rows.

    Raises:
        FileExistsError: if the folder is there.
        ValueError: if there is nothing to encode, or an image cannot be read.

    Example:
        ```python
        from trainers.retrieval.gallery import build_gallery
        from trainers.retrieval.sources import Entries
        from trainers.retrieval.towers import PairTowers

        towers = PairTowers(adaptkit.load_backbone("adaptkit-mini"))
        texts = Entries("texts", "", ["a red apple", "a blue car"])
        gallery = build_gallery(texts, towers, "my_texts").gallery
        print(gallery.search(towers.encode_texts(["an apple"]), top=1))
        ```
    """
    unreadable: list[str] = []
    encoded = encoded_entries(entries, towers, batch_size, unreadable if skip_bad else None)
    return Built(write_gallery(entries, towers, folder, encoded, shard_rows), tuple(unreadable))


def encoded_entries(
    entries: Entries, towers: PairTowers, batch_size: int, unreadable: list[str] | None
) -> Iterator[tuple[list[str], Tensor]]:
    """Names and unit features (B, D) of entries, a batch at a time.

    Args:
        unreadable: takes one reason for each image that cannot be read; None refuses such images.

    Raises:
        ValueError: if an image cannot be read, unless `unreadable` takes the reason.
    """
    if entries.kind == "texts":
        return _texts(entries, towers, batch_size)
    return _images(entries, towers, batch_size, unreadable)


def write_gallery(
    entries: Entries,
    towers: PairTowers,
    folder: str | Path,
    encoded: Iterable[tuple[list[str], Tensor]],
    shard_rows: int = SHARD_ROWS,
) -> Gallery:
    """Write names and features as a gallery; the folder appears when all of it is written.

    Args:
        entries: what was encoded.
        towers: what encoded it.

    Raises:
        FileExistsError: if the folder is there.
        ValueError: if there is nothing to write.
    """
    facts = {"kind": entries.kind, "root": entries.root, **dataclasses.asdict(towers.made_by())}
    with new_folder(folder, LAYOUT) as temporary:
        written = write_rows(temporary, LAYOUT, _in_shards(encoded, shard_rows))
        write_meta(temporary, LAYOUT, facts, written)
    return open_gallery(folder, verify=False)


def open_gallery(folder: str | Path, verify: bool = True) -> Gallery:
    """A gallery that `build_gallery` wrote.

    Args:
        verify: whether every file is read once, and its checksum compared.

    Raises:
        FileNotFoundError: if it, or one of its files, is not there.
        FileError: if a file is damaged, altered, or from a later version.
    """
    meta = read_meta(folder, LAYOUT, Meta)
    items, shards = open_rows(folder, LAYOUT, meta, verify)
    return Gallery(user_path(folder, LAYOUT.what).name, meta, items, shards)


def _texts(entries: Entries, towers: PairTowers, batch_size: int) -> Iterator[tuple[list[str], Tensor]]:
    remaining = iter(entries.names)
    while texts := list(islice(remaining, batch_size)):
        yield texts, towers.encode_texts(texts)


def _images(
    entries: Entries, towers: PairTowers, batch_size: int, unreadable: list[str] | None
) -> Iterator[tuple[list[str], Tensor]]:
    """Names and features of images, a batch at a time; those that cannot be read are said, or refused if None."""

    def read(name: str) -> Tensor | ValueError:
        try:
            return prepared(towers, image_below(Path(entries.root), name))
        except ValueError as error:
            return error

    remaining = iter(entries.names)
    with ThreadPoolExecutor(READERS) as threads:

        def begun() -> list[tuple[str, Future[Tensor | ValueError]]]:
            return [(name, threads.submit(read, name)) for name in islice(remaining, batch_size)]

        batch = begun()
        while batch:
            ahead = begun()  # The next batch is read while this one is encoded.
            names, images = [], []
            for name, reading in batch:
                image = reading.result()
                if isinstance(image, Tensor):
                    names.append(name)
                    images.append(image)
                elif unreadable is None:
                    raise ValueError(f"{image}; replace the file, or leave such images out with --skip-bad")
                else:
                    unreadable.append(str(image))
            if images:
                yield names, towers.encode_images(torch.stack(images))
            batch = ahead


def _in_shards(encoded: Iterable[tuple[list[str], Tensor]], shard_rows: int) -> Iterator[tuple[list[str], Half]]:
    """Batches of names and features -> parts of so many, the features (n, D) in half precision."""
    names: list[str] = []
    parts: list[Tensor] = []
    for some, features in encoded:
        names += some
        parts.append(features.half().cpu())
        while len(names) >= shard_rows:
            rows = torch.cat(parts)
            yield names[:shard_rows], rows[:shard_rows].numpy()
            names, parts = names[shard_rows:], [rows[shard_rows:]]
    if names:
        yield names, torch.cat(parts).numpy()

"""Features of regions on disk: encoded once, a part at a time, and memory-mapped by what learns and searches.

    regions/
        meta.json                  the backbone with its hash, the way of encoding, the SHA-256 of every other file
        regions.txt                a JSON list a line: the image and x0, y0, x1, y1 as shares of its sides
        region_ends.npy            (R,) int64, the byte behind each line
        embeddings_00000.npy ...   (r, D) float16, unit rows, image after image

Files are those of indexes of captions (`adaptkit.vectors`). The folder appears when all is written; until then finished
parts lie beside it in a hidden folder, from which the same call goes on.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from adaptkit import FrozenCLIP
from adaptkit.artefacts.atomic_file import replacing
from adaptkit.heads.villa.boxes import check_boxes
from adaptkit.heads.villa.region_features import How, picture_features
from adaptkit.regular_file import FileError, user_path
from adaptkit.vectors.folder import Layout, new_folder, open_rows, read_meta, write_meta, write_rows
from adaptkit.vectors.rows import Half, UnitRows
from trainers.retrieval.towers import MadeBy, PairTowers

LAYOUT = Layout(
    what="index of regions",
    format="adaptkit-regions",
    version=1,
    lines="regions.txt",
    ends="region_ends.npy",
    made_by="adaptkit regions train DATA --regions INDEX",
)
IMAGES_PER_PART = 256
PICTURES_AT_ONCE = 16


@dataclass(frozen=True)
class RegionSource:
    """Images with the boxes of their regions.

    Args:
        root: folder that the images are named below.
        names: of N images.
        boxes: of each image (R_n, 4), as shares of its sides.
        load: the number of an image -> the picture in RGB.
    """

    root: str
    names: Sequence[str]
    boxes: Sequence[Tensor]
    load: Callable[[int], Image.Image]


@dataclass(frozen=True)
class RegionMeta:
    """The content of `meta.json`."""

    format: str
    format_version: int
    root: str
    how: str
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


class RegionIndex:
    """Regions of N images with features of one backbone.

    Args:
        name: how messages call it.
        lines: one for each region.
    """

    def __init__(self, name: str, meta: RegionMeta, lines: Sequence[str], shards: Sequence[Half]):
        self.name, self.meta, self.rows = name, meta, UnitRows(shards)
        images: list[str] = []
        counts: list[int] = []
        boxes = []
        for place in range(len(lines)):
            image, *box = self._read(lines[place])
            if not images or images[-1] != image:
                images.append(image)
                counts.append(0)
            counts[-1] += 1
            boxes.append(box)
        self.images, self.counts, self.boxes = tuple(images), torch.tensor(counts), torch.tensor(boxes)
        self.starts = self.counts.cumsum(0) - self.counts

    def _read(self, line: str) -> list:
        try:
            found = json.loads(line)
            if isinstance(found, list) and len(found) == 5 and isinstance(found[0], str):
                return [found[0], *map(float, found[1:])]
        except (ValueError, TypeError, RecursionError):
            pass
        raise FileError(
            f"the {LAYOUT.what} {self.name!r} has the line {line[:80]!r}, which is no region; build it again"
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def digest(self) -> str:
        """SHA-256 of all that is in it."""
        return self.meta.sha256

    def places_of(self, images: Sequence[int]) -> list[int]:
        """The places of the regions of some images, image after image."""
        spans = zip(self.starts[list(images)].tolist(), self.counts[list(images)].tolist(), strict=True)
        return [place for start, count in spans for place in range(start, start + count)]

    def rows_of(self, images: Sequence[int]) -> Tensor:
        """Features (R, D) float32 of the regions of some images, image after image."""
        return self.rows.rows(self.places_of(images))

    def parts(self) -> Iterator[Tensor]:
        """All features, a part (r, D) float32 at a time."""
        for shard in self.rows.shards:
            yield torch.from_numpy(shard[:].astype("float32"))

    def check(self, backbone: FrozenCLIP, how: str | None = None) -> None:
        """Refuse a backbone, or a way of encoding, that did not make these features.

        Raises:
            ValueError: names both.
        """
        theirs = PairTowers(backbone).made_by()
        if self.meta.made_by.weights_sha256 != theirs.weights_sha256:
            raise ValueError(
                f"the {LAYOUT.what} {self.name!r} is by {self.meta.made_by}, and the model is {theirs}; give the "
                "backbone that made it, or another folder"
            )
        if how is not None and how != self.meta.how:
            raise ValueError(
                f"the {LAYOUT.what} {self.name!r} has features of {self.meta.how}, and the model is of {how}; give "
                "another folder"
            )


def build_region_index(
    source: RegionSource, backbone: FrozenCLIP, folder: str | Path, how: How = "crops"
) -> RegionIndex:
    """Encode the regions of images into an index on disk; the same call goes on where one was stopped.

    Raises:
        FileExistsError: if the folder is there.
        ValueError: if there is no image, a box is none, or an image cannot be read.
    """
    place = user_path(folder, LAYOUT.what)
    for name, boxes in zip(source.names, source.boxes, strict=True):
        check_boxes(boxes, name)
    parts = _Parts(source, backbone, how, place.parent / f".{place.name}.parts")
    facts = {"root": source.root, "how": how, **dataclasses.asdict(PairTowers(backbone).made_by())}
    with new_folder(place, LAYOUT) as temporary:
        written = write_rows(temporary, LAYOUT, parts)
        write_meta(temporary, LAYOUT, facts, written)
    shutil.rmtree(parts.folder, ignore_errors=True)
    return open_region_index(place, verify=False)


def open_region_index(folder: str | Path, verify: bool = False) -> RegionIndex:
    """An index that `build_region_index` wrote.

    Args:
        verify: whether every file is read once, and its checksum compared.

    Raises:
        FileNotFoundError: if it, or one of its files, is not there.
        FileError: if a file is damaged, altered, or from a later version.
    """
    meta = read_meta(folder, LAYOUT, RegionMeta)
    lines, shards = open_rows(folder, LAYOUT, meta, verify)
    return RegionIndex(user_path(folder, LAYOUT.what).name, meta, lines, shards)


def index_of(source: RegionSource, backbone: FrozenCLIP, folder: Path, how: How) -> RegionIndex:
    """The index in a folder if it is of these regions and this backbone, else a new one in a folder that is not there.

    Raises:
        ValueError: if the index there is of other regions or another backbone.
    """
    if not folder.exists():
        return build_region_index(source, backbone, folder, how)
    index = open_region_index(folder)
    index.check(backbone, how)
    counts = torch.tensor([len(own) for own in source.boxes])
    same = index.images == tuple(source.names) and torch.equal(index.counts, counts)
    if not same or not torch.allclose(index.boxes, torch.cat(list(source.boxes)), atol=1e-6):
        raise ValueError(
            f"the {LAYOUT.what} {str(folder)!r} has {len(index)} images with {index.meta.count} regions, which are not "
            f"the {len(source.names)} images with {int(counts.sum())} regions of this data; give another folder"
        )
    return index


class _Parts:
    """Lines and rows of parts of the images; finished parts are kept in a folder, and taken from there."""

    def __init__(self, source: RegionSource, backbone: FrozenCLIP, how: How, folder: Path):
        self.source, self.backbone, self.how, self.folder = source, backbone, how, folder
        facts = [how, backbone.weights_hash, source.root, list(source.names), [own.tolist() for own in source.boxes]]
        self.identity = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def __iter__(self) -> Iterator[tuple[list[str], Half]]:
        count = len(self.source.names)
        for number, start in enumerate(range(0, count, IMAGES_PER_PART)):
            images = range(start, min(start + IMAGES_PER_PART, count))
            lines = [
                json.dumps([self.source.names[image], *(round(side, 6) for side in box)])
                for image in images
                for box in self.source.boxes[image].tolist()
            ]
            yield lines, self._rows(number, images, len(lines)).numpy()

    def _rows(self, number: int, images: range, count: int) -> Tensor:
        """The rows (r, D) float16 of a part."""
        path = self.folder / f"{number:05}-{self.identity}.safetensors"
        if path.is_file():
            try:
                rows = safetensors.torch.load(path.read_bytes())["rows"]
                if len(rows) == count:
                    return rows
            except (OSError, KeyError, safetensors.SafetensorError):
                pass  # damaged, so it is encoded again
        rows = torch.cat(
            [self._encoded(images[at : at + PICTURES_AT_ONCE]) for at in range(0, len(images), PICTURES_AT_ONCE)]
        )
        if len(self.source.names) > IMAGES_PER_PART:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(safetensors.torch.save({"rows": rows}))
        return rows

    def _encoded(self, images: range) -> Tensor:
        pictures, boxes = [self.source.load(image) for image in images], [self.source.boxes[i] for i in images]
        return picture_features(self.backbone, pictures, boxes, self.how).half().cpu()

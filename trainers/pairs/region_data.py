"""What a mapping model learns from: images with texts, the attributes that each text names, and boxes of regions."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adaptkit.heads.villa import grid_boxes, listed_attributes
from adaptkit.regular_file import read_text, said
from datasets_fewshot.own.box_table import Box, BoxTable, read_box_table
from datasets_fewshot.pairs.load import load_pairs
from datasets_fewshot.pairs.pair_set import Captioned, PairSet
from trainers.retrieval.region_index import RegionSource

BETWEEN = re.compile(r"[;|,\n]")  # attributes of a cell
MAX_LIST_BYTES = 2**24
PARTS = ("train", "val", "test")
DOT = re.compile(r"\.?\s*$")


@dataclass(frozen=True)
class Columns:
    """What a user says about a table; None looks for usual names."""

    image: str | None = None
    caption: str | None = None
    attributes: str | None = None  # of lists with ; , or | between the attributes
    group: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class RegionData:
    """N images of all parts, training images first, with texts."""

    name: str
    images: tuple[Captioned, ...]
    parts: tuple[str, ...]  # of each image
    texts: tuple[str, ...]  # of each image, all that is said of it
    lists: tuple[str, ...]  # of each image, where attributes are looked for
    source: RegionSource
    notes: tuple[str, ...]

    def part(self, name: str) -> list[int]:
        """Numbers of the images of a part."""
        return [place for place, part in enumerate(self.parts) if part == name]

    def labels(self, attributes: Sequence[str]) -> Tensor:
        """(N, A) bool: which image lists which attribute."""
        return listed_attributes(self.lists, attributes)


def load_region_data(
    place: str, columns: Columns, boxes: Path | None = None, in_pixels: bool = False, grid: Sequence[int] = (1, 2, 3)
) -> RegionData:
    """Images with texts, of any form that `load_pairs` reads.

    Args:
        boxes: a table of boxes, see `read_box_table`; an image without any has those of the grid.
        in_pixels: whether corners are pixels of the image, and not shares of its sides.
        grid: sides of the grids.

    Raises:
        FileNotFoundError, SplitError, ValueError: as `load_pairs` and `read_box_table` do, or if no box is of these
            images, or a box leaves its image.
    """
    asked = {"image_column": columns.image, "group_column": columns.group, "encoding": columns.encoding}
    spoken_of = columns.caption or columns.attributes
    pairs = load_pairs(place, caption_column=spoken_of, **asked)
    images = tuple(item for part in PARTS for item in getattr(pairs, part))
    lists = texts = tuple(whole_text(item.captions) for item in images)
    if columns.attributes is not None and columns.caption is not None:
        listed = load_pairs(place, caption_column=columns.attributes, **asked)
        found = {item.path: item for part in PARTS for item in getattr(listed, part)}
        lists = tuple(whole_text(found[item.path].captions) if item.path in found else "" for item in images)
    elif columns.attributes is not None:
        lists = tuple("; ".join(item.captions) for item in images)
    own, notes = _boxes_of(images, pairs, read_box_table(boxes, columns.encoding), in_pixels) if boxes else ({}, ())
    default = grid_boxes(grid)
    source = RegionSource(
        str(pairs.image_root.resolve()),
        tuple(item.path for item in images),
        tuple(own.get(item.path, default) for item in images),
        lambda image: pairs.load(images[image]),
    )
    parts = tuple(part for part in PARTS for _ in getattr(pairs, part))
    return RegionData(pairs.name, images, parts, texts, lists, source, (*pairs.notes, *notes))


def whole_text(captions: Sequence[str]) -> str:
    """All captions of an image as one text of sentences."""
    return " ".join(DOT.sub(".", caption, count=1) for caption in captions)


def found_attributes(data: RegionData, column: str, least: int) -> tuple[str, ...]:
    """The attributes that the lists of training images have, those of `least` images or more, in alphabetical order.

    Raises:
        ValueError: if there is none.
    """
    counts: Counter[str] = Counter()
    for image in data.part("train"):
        words = (word.strip().strip(".").strip().lower() for word in BETWEEN.split(data.lists[image]))
        counts.update({word for word in words if word})
    kept = sorted(word for word, count in counts.items() if count >= least)
    if not kept:
        raise ValueError(
            f"the column {column!r} lists {len(counts)} attributes, none of them for {least} training images; lower "
            "--least, or name attributes with --attributes"
        )
    return tuple(kept)


def named_attributes(written: str) -> tuple[str, ...]:
    """ "red,blue" or a .txt file of an attribute a line -> ("red", "blue"), each once.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it names nothing.
    """
    if Path(written).suffix.lower() == ".txt":
        words = read_text(Path(written), "list of attributes", MAX_LIST_BYTES).splitlines()
    else:
        words = written.split(",")
    found = tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
    if not found:
        raise ValueError(f"{said(written)} names no attribute; give words with commas between them, or a .txt file")
    return found


def _boxes_of(
    images: Sequence[Captioned], pairs: PairSet, table: BoxTable, in_pixels: bool
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Boxes (R, 4) as shares, by path of the images that have some, and notes."""
    found = {}
    for item in images:
        name = item.path if item.path in table.boxes else Path(item.path).name
        if name in table.boxes:
            sides = pairs.load(item).size if in_pixels else (1, 1)
            found[item.path] = _shares(table.boxes[name], sides, item.path, table.lines[name])
    if not found:
        raise ValueError(
            f"none of the {len(table.boxes)} images of the table of boxes is among the {len(images)} images, such as "
            f"{next(iter(table.boxes))!r}; write paths as the data does, such as {images[0].path!r}"
        )
    without = len(images) - len(found)
    return found, (f"{without} images have no box of their own and those of the grid",) if without else ()


def _shares(boxes: Sequence[Box], sides: tuple[int, int], path: str, line: int) -> Tensor:
    width, height = sides
    shares = torch.tensor(boxes) / torch.tensor([width, height, width, height])
    if bool((shares > 1 + 1e-6).any()):
        raise ValueError(
            f"a box of {path!r} (from line {line}) ends behind its image, which is {width} x {height}; corners are "
            "shares of its sides from 0 to 1, or pixels with --pixels"
        )
    return shares.clamp(max=1)

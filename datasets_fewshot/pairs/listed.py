"""What a source lists, row by row, and how the rows become images with captions in three parts."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets_fewshot.own.found import Part
from datasets_fewshot.own.left_out import is_printable
from datasets_fewshot.pairs.hashed_split import HASHED, part_of
from datasets_fewshot.pairs.pair_set import Captioned, PairSet
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError

SHOWN = 60  # characters of a caption in a message


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of a source: an image that is there, and the captions that the row gives it."""

    path: str  # posix path, relative to the image root
    captions: tuple[str, ...]  # as written; none or blank ones are counted
    where: str  # the row, for messages
    group: str = ""  # empty where the source names none
    part: Part | None = None


@dataclass(frozen=True)
class Source:
    """All rows of a source whose images are there, and notes on the others."""

    name: str
    image_root: Path
    rows: tuple[Listed, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Image:
    """The rows of one image, put together."""

    first: Listed
    captions: dict[str, None] = field(default_factory=dict)  # in their order, each once


@dataclass
class _Counted:
    """Rows and captions that are no pairs."""

    blank: list[str] = field(default_factory=list)  # rows that have a blank caption
    repeated: list[str] = field(default_factory=list)  # rows that repeat a caption of their image

    def notes(self) -> Iterator[str]:
        if self.blank:
            yield f"{len(self.blank)} empty captions were left out, the first in {self.blank[0]}"
        if self.repeated:
            yield (
                f"{len(self.repeated)} pairs repeat an image with its caption and were left out, the first in "
                f"{self.repeated[0]}"
            )


def to_pair_set(source: Source) -> PairSet:
    """Put the captions of every image together and the images into parts.

    Parts that the source names are kept. Where it names none, the hash of an image's group says the part.

    Raises:
        SplitError: if no image has a caption, all images have the same one, an image is in two groups or two parts, a
            group is in two of the named parts, or some images have a part and others none.
    """
    counted = _Counted()
    images = _put_together(source.rows, counted)
    bare = [path for path, image in images.items() if not image.captions]
    items = {
        path: Captioned(path, tuple(image.captions), image.first.group or path)
        for path, image in images.items()
        if image.captions
    }
    if not items:
        raise SplitError(f"{source.name}: none of its {len(images)} images has a caption; fill the captions in")
    _check_captions_differ(source.name, items)
    notes = [*source.notes, *counted.notes()]
    if bare:
        shown = ", ".join(repr(path) for path in bare[:NAMES_SHOWN])
        notes.append(f"{len(bare)} images have no caption and were left out: {shown}{_more(bare)}")
    parts, on_parts = _parts(source.name, items, {path: image.first.part for path, image in images.items()})
    train, val, test = parts
    return PairSet(source.name, source.image_root, train, val, test, (*notes, *on_parts))


def _put_together(rows: Sequence[Listed], counted: _Counted) -> dict[str, _Image]:
    images: dict[str, _Image] = {}
    for row in rows:
        image = images.setdefault(row.path, _Image(row))
        _check_one_place(row, image.first)
        for written in row.captions or ("",):
            caption = " ".join(written.split())
            if not is_printable(caption):
                raise SplitError(f"{row.where}: the caption {caption[:SHOWN]!a} is no text; write it in UTF-8")
            if not caption:
                counted.blank.append(row.where)
            elif caption in image.captions:
                counted.repeated.append(row.where)
            else:
                image.captions[caption] = None
    return images


def _check_one_place(row: Listed, first: Listed) -> None:
    for what, here, there in (("group", row.group, first.group), ("part", row.part or "", first.part or "")):
        if here != there:
            raise SplitError(
                f"{row.where}: the image {row.path!r} has the {what} {here!r} here and {there!r} in {first.where}; "
                "give all rows of an image the same"
            )


def _check_captions_differ(name: str, items: Mapping[str, Captioned]) -> None:
    captions = {caption for item in items.values() for caption in item.captions}
    if len(items) > 1 and len(captions) == 1:
        raise SplitError(
            f"{name}: all {len(items)} images have the caption {next(iter(captions))[:SHOWN]!r}, so no text tells them "
            "apart; name the column that holds the captions with --caption-column, or write captions that differ"
        )


def _parts(
    name: str, items: Mapping[str, Captioned], given: Mapping[str, Part | None]
) -> tuple[list[tuple[Captioned, ...]], list[str]]:
    """The lists for training, validation and testing, and notes on them."""
    homeless = [path for path in items if given[path] is None]
    notes = []
    if len(homeless) == len(items):
        chosen = {path: part_of(item.group) for path, item in items.items()}
        notes.append(HASHED)
    elif homeless:
        raise SplitError(
            f"{name}: {homeless[0]!r} and {len(homeless) - 1} more images have no part, and others have one; name it "
            "for all or for none"
        )
    else:
        chosen = {path: part for path in items if (part := given[path]) is not None}
        _check_groups(name, items, chosen)
    lists = [tuple(item for path, item in items.items() if chosen[path] == part) for part in ("train", "val", "test")]
    empty = [part for part, own in zip(("train", "val", "test"), lists, strict=True) if not own]
    if empty:
        notes.append(f"no image is in the part {' or '.join(empty)}")
    return lists, notes


def _check_groups(name: str, items: Mapping[str, Captioned], chosen: Mapping[str, Part]) -> None:
    parts: dict[str, set[str]] = defaultdict(set)
    for path, item in items.items():
        parts[item.group].add(chosen[path])
    if across := [group for group, own in parts.items() if len(own) > 1]:
        own = " and ".join(sorted(parts[across[0]]))
        raise SplitError(
            f"{name}: {len(across)} groups have images in several parts, such as {across[0]!r} in {own}; put every "
            "group into one part, or leave the parts out to have them drawn by group"
        )


def _more(names: Sequence[str]) -> str:
    return ", ..." if len(names) > NAMES_SHOWN else ""

"""Find the images that a table or a JSON lists, and read the words for parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.own.found import PART_NAMES, Part
from datasets_fewshot.own.table_columns import UNASSIGNED
from datasets_fewshot.own.table_paths import place_paths
from datasets_fewshot.pairs.listed import Listed, Source
from datasets_fewshot.splits.validation import SplitError


@dataclass(frozen=True)
class Written:
    """A row as it is written: the image is not looked for yet."""

    image: str
    captions: tuple[str, ...]
    group: str
    part: Part | None
    where: str


def placed(file: Path, name: str, root: Path, written: Sequence[Written], notes: Sequence[str]) -> Source:
    """The rows whose images are below `root`; notes count the others.

    Raises:
        SplitError: if none is there.
    """
    nameless = [row for row in written if not row.image]
    named = [row for row in written if row.image]
    found = place_paths(root, dict.fromkeys(row.image for row in named))
    missing = [row for row in named if row.image not in found.files]
    if len(missing) == len(named):
        first = missing[0] if missing else nameless[0]
        raise SplitError(
            f"{file}: none of its images is there; {first.where}: {first.image!r} is no file below "
            f"{str(root.resolve())!r}; put the file above its images, or write paths relative to its folder"
        )
    more = []
    if nameless:
        more.append(f"{len(nameless)} rows name no image and were left out, the first is {nameless[0].where}")
    if missing:
        count = len({row.image for row in missing})
        more.append(
            f"{count} of {len({row.image for row in named})} images are not there and were left out, the first in "
            f"{missing[0].where}: {missing[0].image!r}"
        )
    rows = tuple(
        Listed(found.files[row.image], row.captions, row.where, row.group, row.part)
        for row in named
        if row.image in found.files
    )
    return Source(name, root, rows, (*notes, *found.notes, *more))


def part_named(written: str, where: str) -> Part | None:
    """The part that a source names; none where it names nothing.

    Raises:
        SplitError: if it is no part.
    """
    word = written.strip().lower()
    if not word or word == UNASSIGNED:
        return None
    if word not in PART_NAMES:
        raise SplitError(f"{where}: the part is {written[:80]!r}; use train, val or test")
    return PART_NAMES[word]

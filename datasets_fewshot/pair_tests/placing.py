"""Written items become a pair test: their images are looked for, and their texts are checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datasets_fewshot.own.table_paths import check_path, place_paths
from datasets_fewshot.pair_tests.pair_tests import Kind, PairItem, PairTests, Subset
from datasets_fewshot.splits.validation import SplitError

Missing = Literal["left out", "refused"]


@dataclass(frozen=True)
class WrittenItem:
    """An item as it is written: its images are not looked for yet."""

    subset: str
    kind: Kind
    images: tuple[str, ...]
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    where: str  # the place in the file, for messages


def placed_tests(
    name: str, root: Path, written: Sequence[WrittenItem], missing: Missing, notes: Sequence[str] = ()
) -> PairTests:
    """Items whose images are below `root`, subset by subset in the order of their names' first appearance.

    Args:
        missing: what happens to an item whose image is not there; published tests are refused, for their numbers are
            of all items.

    Raises:
        SplitError: if a text is blank, a text is both true and false, a subset has items of two kinds, a path climbs
            out, or images are missing and may not be.
    """
    for item in written:
        _check(item)
    found = place_paths(root, dict.fromkeys(path for item in written for path in item.images))
    there = [item for item in written if all(path in found.files for path in item.images)]
    lost = [(item, path) for item in written for path in item.images if path not in found.files]
    if lost and (missing == "refused" or not there):
        item, path = lost[0]
        raise SplitError(
            f"{item.where}: the image {path!r} is no file below {str(root.resolve())!r}, and {len(lost) - 1} more are "
            "not there; name the folder of the images (--images)"
        )
    if not there:
        raise SplitError(f"{name} has no items; see docs/pair_tests.md for the forms that are read")
    more = [
        f"{len(written) - len(there)} of {len(written)} items were left out, whose images are not there; the first is "
        f"{path!r}"
        for _, path in lost[:1]
    ]
    subsets: dict[str, list[WrittenItem]] = {}
    for item in there:
        subsets.setdefault(item.subset, []).append(item)
        if item.kind != subsets[item.subset][0].kind:
            raise SplitError(f"{item.where}: the subset {item.subset!r} has items of another form; name another subset")
    made = tuple(
        Subset(
            each,
            items[0].kind,
            tuple(
                PairItem(tuple(found.files[path] for path in item.images), item.positives, item.negatives)
                for item in items
            ),
        )
        for each, items in subsets.items()
    )
    return PairTests(name, root, made, (*notes, *found.notes, *more))


def _check(item: WrittenItem) -> None:
    for path in item.images:
        if not path.strip():
            raise SplitError(f"{item.where}: it names no image")
        check_path(path, item.where)
    is_pair = item.kind in ("image_pairs", "mmvp")
    if not item.positives or not (item.negatives or is_pair):
        raise SplitError(f"{item.where}: it needs a true text and a false one, at least")
    for text in (*item.positives, *item.negatives):
        if not text.strip():
            raise SplitError(f"{item.where}: a text is blank; write it, or leave the item out")
    both = set(item.positives) & set(item.negatives) or (is_pair and len(set(item.positives)) == 1)
    if both:
        raise SplitError(f"{item.where}: {item.positives[0]!r} is given as true and as false; leave the item out")

"""Splits built from what lies beside the images, where the papers' split file is missing, and what they are worth."""

import random
from collections.abc import Callable
from pathlib import Path

from datasets_fewshot.dataset import Split
from datasets_fewshot.paper_format.facts import facts, is_papers_split
from datasets_fewshot.paper_format.fallback import FALLBACK_SEED
from datasets_fewshot.paper_format.layouts import Place
from datasets_fewshot.splits.split_files import read_split, write_split
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError, check_split
from datasets_fewshot.store.cache_folder import cache_folder

FALLBACK_NOTE = "fallback split: built by the papers' rule, but not the papers' images"

Build = Callable[[Place, random.Random], Split]


def rebuild_papers_split(name: str, build: Build, place: Place) -> Split | str:
    """The papers' own split by their rule from official lists, or the reason why it does not come out."""
    try:
        split = build(place, random.Random(FALLBACK_SEED))
        check_split(split, f"the split rebuilt in {place.folder}")
    except (ValueError, FileNotFoundError, ImportError) as error:
        return str(error)
    if is_papers_split(name, split):
        return split
    return _difference(name, split) or "images or their order are others than the papers'"


def fallback_split(name: str, build: Build, place: Place, file_name: str) -> tuple[Split, tuple[str, ...]]:
    """A split by the papers' rule, with notes for records; it is written when it is first built, and read afterwards.

    Raises:
        SplitError: if classes are missing or there are more of them, which would shift labels and halves.
    """
    beside = place.folder / file_name
    elsewhere = cache_folder() / "splits" / file_name
    kept = next((path for path in (beside, elsewhere) if path.is_file()), None)
    if kept is not None:
        split = read_split(kept)
        _check_classes(name, split, f"{kept}, which was built earlier; complete the images and delete it")
    else:
        split = build(place, random.Random(FALLBACK_SEED))
        _check_classes(name, split, f"{place.image_root}; complete the download, or move away what is not of it")
        check_split(split, f"the fallback split of {place.folder}")
        _write(split, beside, elsewhere)
    difference = _difference(name, split)
    return split, (FALLBACK_NOTE, *((f"the fallback split has {difference}",) if difference else ()))


def _write(split: Split, beside: Path, elsewhere: Path) -> None:
    try:
        write_split(split, beside, notes=[FALLBACK_NOTE])
    except OSError:  # data folders are often read-only
        write_split(split, elsewhere, notes=[FALLBACK_NOTE])


def _check_classes(name: str, split: Split, where: str) -> None:
    classes = _class_difference(name, split)
    if classes:
        raise SplitError(f"no fallback split is possible: {classes}, in {where}")


def _class_difference(name: str, split: Split) -> str:
    """Which classes are missing or too many; "" if they are the papers'."""
    wanted, present = facts(name).classnames, {item.classname for items in split for item in items}
    missing = [classname for classname in wanted if classname not in present]
    extra = sorted(present - set(wanted))
    told = [f"{len(missing)} of {len(wanted)} classes are missing ({_shown(missing)})"] if missing else []
    told += [f"{len(extra)} classes are not of this data set ({_shown(extra)})"] if extra else []
    return " and ".join(told)


def _difference(name: str, split: Split) -> str:
    """Where the numbers of classes or images are not the papers'; "" if they are."""
    classes = _class_difference(name, split)
    if classes:
        return classes
    known, count = facts(name), sum(len(items) for items in split)
    wanted = known.train + known.val + known.test
    return f"{count} images; the papers' data set has {wanted}" if count != wanted else ""


def _shown(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")

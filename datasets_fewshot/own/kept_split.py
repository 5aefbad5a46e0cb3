"""The split that was drawn for own data: kept beside them, and used again while they are cleaned and grow.

The kept lists say which part an image is in. Which class it has, the data themselves say each time, so that a corrected
label or a renamed folder counts at once and an image that was tested on is never trained on later.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.own.auto_split import auto_split
from datasets_fewshot.own.found import FoundImage, in_label_order
from datasets_fewshot.splits.split_files import read_notes, read_split, write_split
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError, check_split

DRAWN = "split drawn by adaptkit"
REDRAW = "--redraw draws the split again with all images"
LEAST_KNOWN = 0.8  # of a vanished folder's images that a new folder has by name, if it is the same one renamed


def kept_or_drawn(
    images: Sequence[FoundImage], file: Path, seed: int, bad: frozenset[str], redraw: bool, keep: bool = True
) -> tuple[Split, list[str]]:
    """The split that was drawn earlier, brought up to date, or a new one, and notes on it.

    Args:
        images: the readable ones.
        bad: paths of those that are not, which the kept lists may name.
        redraw: draw a new split in the place of the kept one.
        keep: write a new split to `file`.

    Raises:
        SplitError: if the kept file is damaged, is not ours to replace, or none of its images is there.
    """
    if file.is_file() and not redraw:
        return _kept(images, file, bad)
    if file.is_file():
        _check_ours(file)
    label = {name: place for place, name in enumerate(in_label_order(image.classname for image in images))}
    split = auto_split([Item(i.path, label[i.classname], i.classname) for i in images], seed)
    check_split(split, str(file.parent))
    note = f"{DRAWN}: half of each class for training, a fifth for validation, seed {seed}"
    if not keep:
        return split, []
    try:
        write_split(split, file, notes=[note])
    except OSError as error:
        return split, [f"{note}; not kept, because {file} cannot be written ({error.strerror})"]
    return split, [note]


def _check_ours(file: Path) -> None:
    if not any(note.startswith(DRAWN) for note in read_notes(file)):
        raise SplitError(f"{file} was not drawn by adaptkit, so --redraw does not replace it; move it away first")


@dataclass
class _Changes:
    """How data differ from their kept split."""

    gone: list[str] = field(default_factory=list)  # paths in the lists that are not there
    added: list[FoundImage] = field(default_factory=list)  # images in none of the lists
    renamed: dict[str, str] = field(default_factory=dict)  # folder as listed -> as it is called now
    relabelled: int = 0  # images with another class than in the lists


def _kept(images: Sequence[FoundImage], file: Path, bad: frozenset[str]) -> tuple[Split, list[str]]:
    try:
        kept = read_split(file)
        notes = list(read_notes(file))
    except SplitError as error:
        raise SplitError(f"{error}; repair the file, or delete it to have a new split drawn") from error
    there = {image.path: image for image in images}
    listed = [item for part in kept for item in part if item.path not in bad]
    changes = _Changes(gone=[item.path for item in listed if item.path not in there])
    known = {item.path for item in listed}
    changes.added = [image for image in images if image.path not in known]
    changes.renamed = _renamed_folders(listed, there, changes.added)
    now = {item.path: image for item in listed if (image := _image_now(item, there, changes.renamed))}
    if not now:
        raise SplitError(
            f"{file} lists {len(listed)} images, and none of them is there any more, such as {listed[0].path!r}; "
            f"{REDRAW}"
            if listed
            else f"all images of {file} are unreadable; {REDRAW}"
        )
    if changes.renamed:
        changes.gone = [path for path in changes.gone if path not in now]
        taken = {image.path for image in now.values()}
        changes.added = [image for image in changes.added if image.path not in taken]
    label = _labels(listed, now, changes.renamed)
    parts = [
        tuple(
            Item(now[item.path].path, label[now[item.path].classname], now[item.path].classname)
            for item in part
            if item.path in now
        )
        for part in kept
    ]
    changes.relabelled = sum(
        now[item.path].classname not in (item.classname, changes.renamed.get(item.classname))
        for item in listed
        if item.path in now
    )
    return Split(*parts), [*notes, *_describe(changes, file, {item.classname for item in listed}, set(label))]


def _image_now(item: Item, there: Mapping[str, FoundImage], renamed: Mapping[str, str]) -> FoundImage | None:
    if item.path in there:
        return there[item.path]
    folder, slash, rest = item.path.partition("/")
    return there.get(f"{renamed[folder]}/{rest}") if slash and folder in renamed else None


def _renamed_folders(
    listed: Iterable[Item], there: Mapping[str, FoundImage], added: Iterable[FoundImage]
) -> dict[str, str]:
    """Class folders that vanished while one new folder with the same files appeared."""
    vanished: dict[str, set[str]] = defaultdict(set)
    alive: set[str] = set()
    for item in listed:
        folder, slash, rest = item.path.partition("/")
        if item.path in there or not slash or folder != item.classname:
            alive.add(folder)
        else:
            vanished[folder].add(rest)
    new: dict[str, set[str]] = defaultdict(set)
    for image in added:
        folder, slash, rest = image.path.partition("/")
        if slash and folder == image.classname and folder not in alive:
            new[folder].add(rest)
    renamed: dict[str, str] = {}
    for folder, names in vanished.items():
        fitting = [other for other, its in new.items() if len(names & its) >= LEAST_KNOWN * max(len(names), len(its))]
        if folder not in alive and len(fitting) == 1 and fitting[0] not in renamed.values():
            renamed[folder] = fitting[0]
    return renamed


def _labels(listed: Iterable[Item], now: Mapping[str, FoundImage], renamed: Mapping[str, str]) -> dict[str, int]:
    """Labels from 0: the kept order of classes first, then the names that are new."""
    before = {renamed.get(item.classname, item.classname): item.label for item in listed}
    names = in_label_order(image.classname for image in now.values())
    ordered = sorted(names, key=lambda name: before.get(name, len(before) + max(before.values(), default=0)))
    return {name: place for place, name in enumerate(ordered)}


def _describe(changes: _Changes, file: Path, before: set[str], now: set[str]) -> list[str]:
    notes = []
    for old, current in changes.renamed.items():
        notes.append(f"the folder {old!r} of {file.name} is called {current!r} now")
    if changes.gone:
        notes.append(
            f"{len(changes.gone)} images of {file.name} are gone and were left out of its lists, such as "
            f"{changes.gone[0]!r}"
        )
    lost = in_label_order(before - now - set(changes.renamed))
    if lost:
        notes.append(f"the classes {_shown(lost)} of {file.name} are gone, and nothing is learnt of them")
    if changes.relabelled:
        notes.append(
            f"{changes.relabelled} images have another class than when {file.name} was drawn; they stay in their part"
        )
    new = in_label_order(image.classname for image in changes.added if image.classname not in now)
    images = sum(image.classname in new for image in changes.added)
    if new:
        notes.append(
            f"the classes {_shown(new)} with {images} images came after {file.name} was drawn and were left out; "
            f"{REDRAW}"
        )
    if len(changes.added) > images:
        notes.append(
            f"{len(changes.added) - images} images are newer than {file.name} and in none of its lists; {REDRAW}"
        )
    return notes


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")

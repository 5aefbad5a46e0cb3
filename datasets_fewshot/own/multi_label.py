"""Load your own images with several labels each, from a table.

The images are an ordinary data set in which every image is a class of its own, so that all that reads, encodes and
batches images does so with these; a matrix says which labels an image has. Whoever takes the numbers of the images for
classes finds as many classes as images, and never the first of an image's labels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adaptkit.regular_file import user_path
from datasets_fewshot.dataset import FewShotDataset, Item, Split
from datasets_fewshot.own.checked_images import Checked, check_images
from datasets_fewshot.own.found import Part
from datasets_fewshot.own.image_table import TableOptions
from datasets_fewshot.own.kept_split import DRAWN, REDRAW
from datasets_fewshot.own.label_table import LabelledImage, LabelTable, read_label_table
from datasets_fewshot.own.names import read_names
from datasets_fewshot.own.usable import FEW_TEST_IMAGES, same_names
from datasets_fewshot.splits.multi_label import stratified
from datasets_fewshot.splits.split_files import read_notes, read_split, write_split
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError

PARTS: tuple[Part, ...] = ("train", "val", "test")
SHARES = (0.5, 0.2, 0.3)  # of the three parts, as for images of one class

Names = str | Path | Sequence[str] | Mapping[str, str] | None
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MultiLabelDataset:
    """Images with several labels, in three lists."""

    images: FewShotDataset  # every image is a class of its own, and its label is the image's number
    classnames: tuple[str, ...]  # C names in label order
    labels: tuple[tuple[int, ...], ...]  # of each image by its number, in ascending order

    @property
    def name(self) -> str:
        """What the data set is called."""
        return self.images.name

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on what was left out or decided."""
        return self.images.notes

    def targets(self, items: Iterable[Item]) -> Bools:
        """Which labels images have: (N, C)."""
        rows = [self.labels[item.label] for item in items]
        found = np.zeros((len(rows), len(self.classnames)), dtype=np.bool_)
        for row, labels in enumerate(rows):
            found[row, list(labels)] = True
        return found


def load_multi_label(
    path: str | Path,
    *,
    classnames: Names = None,
    seed: int = 1,
    skip_bad: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    encoding: str | None = None,
    redraw: bool = False,
    val_as_test: bool = False,
    keep_split: bool = True,
    training: bool = True,
) -> MultiLabelDataset:
    """Load a table of images with several labels each.

    Args:
        path: a .csv, .tsv or .jsonl table of paths and labels; see `label_cells` for how labels are written.
        classnames: names for the labels, as `load_own_data` takes them; a mapping has to name every label.
        seed, skip_bad, path_column, label_column, encoding, redraw, val_as_test, keep_split: as of `load_own_data`.
        training: False if nothing is learnt of the images, so that a label may have none.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        SplitError: if the table breaks a rule, a label marks no image, or a kept split has none of the images.
        ValueError: if images cannot be read and `skip_bad` is off, or names do not fit the labels; and for training, if
            there is one label only, or there are no training or no test images.
    """
    table = user_path(path, "data")
    if not table.exists():
        raise FileNotFoundError(f"there is nothing at {str(table)!r}; give a table of images and labels")
    found = read_label_table(table, TableOptions(path_column, label_column, encoding))
    notes = list(found.notes)
    names = read_names(classnames, table.parent, found.classes, every=classnames is not None)
    checked = check_images(found.image_root, [image.path for image in found.images])
    if checked.bad and not skip_bad:
        shown = ", ".join(repr(name) for name in sorted(checked.bad)[:NAMES_SHOWN])
        raise ValueError(
            f"{len(checked.bad)} images cannot be read: {shown}; repair or remove them, or leave them out with "
            "--skip-bad"
        )
    if checked.bad:
        notes.append(f"{len(checked.bad)} unreadable images were left out")
    images = [image for image in found.images if image.path not in checked.bad]
    if training:
        _check_positives(images, found, table)
    parts, more = _parts(images, found.classes, table, seed, redraw, keep_split)
    notes += [*more, *_notes_on_equal_images(parts, checked)]
    if val_as_test:
        if parts["test"] or not parts["val"]:
            raise ValueError(f"--val-as-test: {table.stem} has test images, or no val part; leave --val-as-test out")
        parts = {"train": parts["train"], "val": [], "test": parts["val"]}
        notes.append("the val part is the test part, as asked for; choose nothing on it")
    place = {name: number for number, name in enumerate(found.classes)}
    ordered = [image for part in PARTS for image in parts[part]]
    numbers = {image.path: number for number, image in enumerate(ordered)}
    split = Split(*(tuple(Item(i.path, numbers[i.path], i.path) for i in parts[part]) for part in PARTS))
    labels = tuple(tuple(sorted(place[label] for label in image.labels)) for image in ordered)
    spoken = tuple(names[name] for name in found.classes)
    if twice := same_names(spoken):
        raise ValueError(f"{table.stem}: {twice[0]}")
    dataset = MultiLabelDataset(FewShotDataset(table.stem, found.image_root, split, reading="upright"), spoken, labels)
    if training:
        notes += _usable(dataset)
    with_notes = FewShotDataset(table.stem, found.image_root, split, tuple(notes), reading="upright")
    return MultiLabelDataset(with_notes, spoken, labels)


def _check_positives(images: Sequence[LabelledImage], found: LabelTable, table: Path) -> None:
    held = {label for image in images for label in image.labels}
    without = [name for name in found.classes if name not in held]
    if without:
        shown = ", ".join(repr(name) for name in without[:NAMES_SHOWN])
        raise SplitError(
            f"{table}: no image has the label {shown}, so nothing can be learnt or tested of it; add an image that "
            "has it, or remove the label"
        )
    if len(found.classes) < 2:
        has = f"one label only, {found.classes[0]!r}" if found.classes else "no label at all"
        raise ValueError(
            f"{table} has {has}; several labels per image need two labels or more; to tell one thing from everything "
            "else, give every image one class of two"
        )


def _parts(
    images: Sequence[LabelledImage], classes: Sequence[str], table: Path, seed: int, redraw: bool, keep: bool
) -> tuple[dict[Part, list[LabelledImage]], list[str]]:
    """The images of each part, and notes."""
    if any(image.part for image in images):
        homeless = [image.path for image in images if image.part is None]
        if homeless:
            raise SplitError(
                f"{homeless[0]!r} and {len(homeless) - 1} more images have no part; name it for all or for none"
            )
        if redraw:
            raise ValueError(f"--redraw: {table} has parts of its own, so no split is drawn; leave --redraw out")
        return {part: [image for image in images if image.part == part] for part in PARTS}, []
    file = table.with_suffix(".split.json")
    if file.is_file() and not redraw:
        return _kept(images, file)
    if file.is_file() and not any(note.startswith(DRAWN) for note in read_notes(file)):
        raise SplitError(f"{file} was not drawn by adaptkit, so --redraw does not replace it; move it away first")
    ordered = sorted(images, key=lambda image: image.path)
    place = {name: number for number, name in enumerate(classes)}
    drawn = stratified([[place[label] for label in image.labels] for image in ordered], SHARES, seed)
    parts: dict[Part, list[LabelledImage]] = {
        part: [image for image, number in zip(ordered, drawn, strict=True) if PARTS[number] == part] for part in PARTS
    }
    note = f"{DRAWN}: about half of each label's images for training, a fifth for validation, seed {seed}"
    if not keep:
        return parts, []
    numbers = {image.path: number for number, image in enumerate(image for part in PARTS for image in parts[part])}
    lists = Split(*(tuple(Item(i.path, numbers[i.path], i.path) for i in parts[part]) for part in PARTS))
    try:
        write_split(lists, file, notes=[note])
    except OSError as error:
        return parts, [f"{note}; not kept, because {file} cannot be written ({error.strerror})"]
    return parts, [note]


def _kept(images: Sequence[LabelledImage], file: Path) -> tuple[dict[Part, list[LabelledImage]], list[str]]:
    """The parts as they were drawn earlier; which labels an image has, the table says each time."""
    try:
        split, notes = read_split(file), list(read_notes(file))
    except SplitError as error:
        raise SplitError(f"{error}; repair the file, or delete it to have a new split drawn") from error
    there = {image.path: image for image in images}
    listed = {item.path for items in split for item in items}
    parts: dict[Part, list[LabelledImage]] = {
        part: [there[item.path] for item in items if item.path in there]
        for part, items in zip(PARTS, split, strict=True)
    }
    if not any(parts.values()):
        raise SplitError(f"{file} lists {len(listed)} images, and none of them is there any more; {REDRAW}")
    if gone := len(listed - set(there)):
        notes.append(f"{gone} images of {file.name} are gone and were left out of its lists")
    if added := len(set(there) - listed):
        notes.append(f"{added} images are newer than {file.name} and in none of its lists; {REDRAW}")
    return parts, notes


def _notes_on_equal_images(parts: Mapping[Part, Sequence[LabelledImage]], checked: Checked) -> list[str]:
    learnt = {image.path: set(image.labels) for part in ("train", "val") for image in parts[part]}
    tested = {image.path: set(image.labels) for image in parts["test"]}
    both = unlike = 0
    for group in checked.same:
        both += sum(path in tested for path in group) if any(path in learnt for path in group) else 0
        every = [{**learnt, **tested}[path] for path in group if path in learnt or path in tested]
        unlike += any(labels != every[0] for labels in every)
    notes = []
    if both:
        notes.append(
            f"{both} test images have the same pixels as images for training or validation; the results are too good "
            "by them"
        )
    if unlike:
        notes.append(f"{unlike} times images have the same pixels and other labels")
    return notes


def _usable(dataset: MultiLabelDataset) -> list[str]:
    """Notes for the user on labels without images.

    Raises:
        ValueError: if there are no training or no test images, or none of a part has a label.
    """
    train, _, test = dataset.images.split
    for part, items in (("training", train), ("test", test)):
        if not items:
            raise ValueError(
                f"{dataset.name} has no {part} images; give its split column some, or leave that column out to have "
                "them drawn"
            )
    learnt, tested = dataset.targets(train), dataset.targets(test)
    for part, targets in (("training", learnt), ("test", tested)):
        if not targets.any():
            raise ValueError(
                f"no {part} image of {dataset.name} has any of the {len(dataset.classnames)} labels; give the part "
                "some that have, or leave the split column out to have them dealt out label by label"
            )
    notes = []
    for said, lacking in (
        ("no training image has the label {}; only its name tells the model of it", ~learnt.any(axis=0)),
        ("every training image has the label {}; nothing shows what is not it", learnt.all(axis=0)),
        ("no test image has the label {}; the results say nothing of it", ~tested.any(axis=0)),
        ("every test image has the label {}; its average precision is 100 % by form", tested.all(axis=0)),
    ):
        names = [repr(dataset.classnames[place]) for place in np.flatnonzero(lacking)]
        if names:
            notes.append(said.format(", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")))
    if len(test) < FEW_TEST_IMAGES:
        notes.append(f"{len(test)} test images are few: mind how much one of them changes the results")
    return notes

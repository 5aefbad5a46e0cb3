"""Load your own images: a tree of folders, a table, webdataset shards, or a Hugging Face folder on disk.

Photos are turned upright as their EXIF data say, and transparent images lie on white (`reading="upright"`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adaptkit.regular_file import user_path
from datasets_fewshot.dataset import FewShotDataset, Item, Split
from datasets_fewshot.own.checked_images import Checked, check_images
from datasets_fewshot.own.found import FoundImage, in_label_order
from datasets_fewshot.own.image_table import TableOptions
from datasets_fewshot.own.kept_split import kept_or_drawn
from datasets_fewshot.own.names import notes_on_names, read_names
from datasets_fewshot.own.sources import SPLIT_FILE, find_source
from datasets_fewshot.own.usable import same_names
from datasets_fewshot.splits.split_files import read_split
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError, check_files, check_split, missing_files

__all__ = ["SPLIT_FILE", "load_own_data"]


def load_own_data(
    path: str | Path,
    *,
    split: str | Path | None = None,
    classnames: str | Path | Sequence[str] | Mapping[str, str] | None = None,
    seed: int = 1,
    skip_bad: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    encoding: str | None = None,
    redraw: bool = False,
    val_as_test: bool = False,
    keep_split: bool = True,
) -> FewShotDataset:
    """Load your own images as a data set.

    Whatever is left out or decided on the way is in the data set's notes.

    Args:
        path: a folder of class folders (perhaps below train/, val/ and test/); a .csv, .tsv or .jsonl table of path
            and class, or a folder with metadata.csv or metadata.jsonl; a .tar shard, a folder of shards (perhaps
            below train/ and test/) or a .txt list of shards; a folder that
            `datasets.Dataset.save_to_disk` wrote; or Parquet of the Hub, a file or a folder of them.
        split: your split file. Without one, the data's own train, val and test parts are used, and without
            those a stratified split is drawn, written beside the data as adaptkit_split.json and used from then on.
        classnames: names for the classes, which otherwise are called after their folders or columns: a sequence in
            label order of classes, a mapping, or a file with either (see `own_names`). A classnames.txt or
            classnames.json beside the data is used automatically.
        seed: for drawing a split.
        skip_bad: leave unreadable images out; the data set's notes then say how many.
        path_column: the table's column of images; None looks for a usual name. Hugging Face data may need it, too.
        label_column: the table's column of classes; None looks for a usual name.
        encoding: of the table, such as "cp1252"; None recognises UTF-8, UTF-16 and UTF-32.
        redraw: draw the split again and keep the new one.
        val_as_test: test on the val part of data that have no test part.
        keep_split: write a drawn split beside the data, for the next time.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        SplitError: if the data have no images, or a split breaks a rule.
        ValueError: if images cannot be read and `skip_bad` is off, or names do not fit the classes.
        ImportError: if a Hugging Face folder or Parquet is given and `pyarrow` is not installed.
    """
    if not str(path).strip():
        raise ValueError("the path of the data is empty; give a folder, a table or a list of shards")
    path = user_path(path, "data")
    source = find_source(path, TableOptions(path_column, label_column, encoding))
    root, notes = source.found.image_root, list(source.found.notes)
    names = read_names(classnames, source.home, source.found.classes)
    notes += notes_on_names(classnames, source.home, source.found.classes, names)
    checked = check_images(root, [image.path for image in source.found.images])
    if checked.bad and not skip_bad:
        raise ValueError(_describe_bad(checked.bad) + "; repair or remove them, or leave them out with --skip-bad")
    if checked.bad:
        notes.append(f"{len(checked.bad)} unreadable images were left out")
    images = [image for image in source.found.images if image.path not in checked.bad]
    if not images:
        raise SplitError(f"none of the {len(checked.bad)} images of {str(path)!r} can be read")
    has_parts = any(image.part for image in images)
    if redraw and (split is not None or has_parts):
        brought = f"the split file {split}" if split is not None else "its own train, val and test parts"
        raise ValueError(f"--redraw: the split of {str(path)!r} is not drawn, it has {brought}; leave --redraw out")
    if split is not None:
        lists, more = _split_of_ones_own(split, root, checked.bad)
    elif has_parts:
        lists, more = _split_of_parts(images), []
    else:
        lists, more = kept_or_drawn(images, source.split_file, seed, checked.bad, redraw, keep_split)
    notes += more
    if val_as_test:
        lists = _val_as_test(lists, source.name)
        notes.append("the val part is the test part, as asked for; choose nothing on it")
    notes += _notes_on_equal_images(lists, checked)
    lists = _rename(lists, names)
    check_split(lists, str(split or path))
    dataset = FewShotDataset(source.name, root, lists, tuple(notes), reading="upright")
    return replace(dataset, notes=(*notes, *same_names(dataset.classnames)))


def _split_of_ones_own(file: str | Path, root: Path, bad: frozenset[str]) -> tuple[Split, list[str]]:
    """The split of a file, without images that are bad or gone; classes are numbered anew if one has vanished.

    Raises:
        SplitError: if none of its images is there.
    """
    split = read_split(file)
    missing = frozenset(missing_files(split, root))
    total = sum(len(part) for part in split)
    if len(missing) == total:
        check_files(split, root, str(file))  # names them
    kept = [tuple(item for item in part if item.path not in bad | missing) for part in split]
    labels = {label: place for place, label in enumerate(sorted({item.label for part in kept for item in part}))}
    notes = []
    if missing:
        notes.append(
            f"{len(missing)} of the {total} images of {Path(file).name} are gone and were left out, such as "
            f"{min(missing)!r}"
        )
        before = {item.classname for part in split for item in part}
        gone = in_label_order(before - {item.classname for part in kept for item in part})
        if gone:
            notes.append(f"the classes {', '.join(gone[:NAMES_SHOWN])} of {Path(file).name} are gone")
    return Split(*(tuple(replace(item, label=labels[item.label]) for item in part) for part in kept)), notes


def _split_of_parts(images: Sequence[FoundImage]) -> Split:
    """The split into the data's own parts; classes are numbered in label order.

    Raises:
        SplitError: if an image is in no part.
    """
    homeless = [image.path for image in images if image.part is None]
    if homeless:
        raise SplitError(
            f"{homeless[0]!r} and {len(homeless) - 1} more images have no part; name it for all or for none"
        )
    label = {name: place for place, name in enumerate(in_label_order(image.classname for image in images))}
    lists = {
        part: tuple(Item(i.path, label[i.classname], i.classname) for i in images if i.part == part)
        for part in ("train", "val", "test")
    }
    return Split(lists["train"], lists["val"], lists["test"])


def _val_as_test(split: Split, name: str) -> Split:
    if split.test or not split.val:
        has = f"has {len(split.test)} test images of its own" if split.test else "has no val part either"
        raise ValueError(f"--val-as-test: {name} {has}; leave --val-as-test out")
    return Split(split.train, (), split.val)


def _notes_on_equal_images(split: Split, checked: Checked) -> list[str]:
    """Notes on images with the same pixels that are learnt and tested, or that have two classes."""
    learnt = {item.path: item for part in (split.train, split.val) for item in part}
    tested = {item.path: item for item in split.test}
    both: list[tuple[str, str]] = []
    unlike: list[tuple[str, str]] = []
    for group in checked.same:
        ours = [path for path in group if path in learnt]
        both += [(path, ours[0]) for path in group if path in tested and ours]
        classes = {
            (learnt.get(path) or tested[path]).classname: path for path in group if path in learnt or path in tested
        }
        if len(classes) > 1:
            first, second, *_ = classes.values()
            unlike.append((first, second))
    notes = []
    if both:
        notes.append(
            f"{len(both)} test images have the same pixels as images for training or validation, such as "
            f"{both[0][0]!r} and {both[0][1]!r}; the accuracy is too good by them"
        )
    if unlike:
        notes.append(
            f"{len(unlike)} images have the same pixels as one of another class, such as {unlike[0][0]!r} and "
            f"{unlike[0][1]!r}"
        )
    return notes


def _rename(split: Split, names: Mapping[str, str]) -> Split:
    renamed = (tuple(replace(i, classname=names.get(i.classname, i.classname)) for i in part) for part in split)
    return Split(*renamed)


def _describe_bad(bad: frozenset[str]) -> str:
    shown = ", ".join(repr(path) for path in sorted(bad)[:NAMES_SHOWN])
    return f"{len(bad)} images cannot be read: {shown}" + (", ..." if len(bad) > NAMES_SHOWN else "")

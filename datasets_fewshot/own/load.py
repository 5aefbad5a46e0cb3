"""Load your own images: a tree of folders, a table, webdataset shards, or a Hugging Face folder on disk.

Photos are turned upright as their EXIF data say, and transparent images lie on white (`reading="upright"`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets_fewshot.dataset import FewShotDataset, Item, Split
from datasets_fewshot.own.auto_split import auto_split
from datasets_fewshot.own.bad_images import find_bad_images
from datasets_fewshot.own.found import Found, FoundImage, in_label_order
from datasets_fewshot.own.hf_folder import is_hf_folder, read_hf_folder
from datasets_fewshot.own.image_table import TABLE_SUFFIXES, read_table
from datasets_fewshot.own.image_tree import read_tree
from datasets_fewshot.own.names import read_names
from datasets_fewshot.own.shards import is_shards, read_shards
from datasets_fewshot.splits.split_files import read_notes, read_split, write_split
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError, check_files, check_split

SPLIT_FILE = "adaptkit_split.json"


def load_own_data(
    path: str | Path,
    *,
    split: str | Path | None = None,
    classnames: str | Path | Sequence[str] | Mapping[str, str] | None = None,
    seed: int = 1,
    skip_bad: bool = False,
) -> FewShotDataset:
    """Load your own images as a data set.

    Args:
        path: a folder of class folders (perhaps below train/, val/ and test/); a .csv, .tsv or .jsonl table of path
            and class; a .tar shard, a folder of shards or a .txt list of shards; or a folder that
            `datasets.Dataset.save_to_disk` wrote.
        split: your split file. Without one, the data's own train, val and test parts are used, and without
            those a stratified split is drawn, written beside the data as adaptkit_split.json and used from then on.
        classnames: names for the classes, which otherwise are called after their folders or columns: a sequence in
            label order of classes, a mapping, or a file with either (see `own_names`). A classnames.txt or
            classnames.json beside the data is used automatically.
        seed: for drawing a split.
        skip_bad: leave unreadable images out; the data set's notes then say how many.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        SplitError: if the data have no images, or a split breaks a rule.
        ValueError: if images cannot be read and `skip_bad` is off, or names do not fit the classes.
        ImportError: if a Hugging Face folder is given and `datasets` is not installed.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at {str(path)!r}; give a folder, a table or a list of shards")
    source = _find(path)
    notes = list(source.found.notes)
    names = read_names(classnames, source.home, source.found.classes)
    bad = find_bad_images(source.found.image_root, [image.path for image in source.found.images])
    if bad and not skip_bad:
        raise ValueError(_describe_bad(bad) + "; repair or remove them, or leave them out with --skip-bad")
    if bad:
        notes.append(f"{len(bad)} unreadable images were left out")
    images = [image for image in source.found.images if image.path not in bad]
    if split is not None:
        lists = _without(read_split(split), bad)
    elif any(image.part for image in images):
        lists = _split_of_parts(images)
    else:
        lists, drawn = _kept_split(images, source, seed, bad)
        notes += drawn
    lists = _rename(lists, names)
    where = str(split or path)
    check_split(lists, where)
    check_files(lists, source.found.image_root, where)
    return FewShotDataset(source.name, source.found.image_root, lists, tuple(notes), reading="upright")


@dataclass(frozen=True)
class _Source:
    found: Found
    home: Path  # the folder where classnames.txt and the kept split lie
    split_file: Path
    name: str


def _find(path: Path) -> _Source:
    if path.suffix.lower() in TABLE_SUFFIXES:
        return _Source(read_table(path), path.parent, path.with_suffix(".split.json"), path.stem)
    if is_shards(path):
        home = path if path.is_dir() else path.parent
        return _Source(read_shards(path), home, home / SPLIT_FILE, path.stem)
    if is_hf_folder(path):
        return _Source(read_hf_folder(path), path, path / SPLIT_FILE, path.name)
    if path.is_dir():
        return _Source(read_tree(path), path, path / SPLIT_FILE, path.resolve().name)
    raise ValueError(f"{str(path)!r} is no folder, table ({', '.join(sorted(TABLE_SUFFIXES))}), .tar or list of .tar")


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
    label = _labels(images)
    lists = {
        part: tuple(Item(i.path, label[i.classname], i.classname) for i in images if i.part == part)
        for part in ("train", "val", "test")
    }
    return Split(lists["train"], lists["val"], lists["test"])


def _kept_split(
    images: Sequence[FoundImage], source: _Source, seed: int, bad: frozenset[str]
) -> tuple[Split, list[str]]:
    """The split that was drawn earlier, or a new one, and notes on it."""
    if source.split_file.is_file():
        split = read_split(source.split_file)
        listed = {item.path for part in split for item in part}
        added = sum(image.path not in listed for image in images)
        notes = list(read_notes(source.split_file))
        if added:
            notes.append(f"{added} images are newer than {source.split_file.name} and in none of its lists")
        return _without(split, bad), notes
    label = _labels(images)
    split = auto_split([Item(i.path, label[i.classname], i.classname) for i in images], seed)
    check_split(split, str(source.home))
    note = f"split drawn by adaptkit: half of each class for training, a fifth for validation, seed {seed}"
    try:
        write_split(split, source.split_file, notes=[note])
    except OSError as error:
        return split, [f"{note}; not kept, because {source.split_file} cannot be written ({error.strerror})"]
    return split, [note]


def _without(split: Split, bad: frozenset[str]) -> Split:
    return Split(*(tuple(item for item in part if item.path not in bad) for part in split)) if bad else split


def _labels(images: Sequence[FoundImage]) -> dict[str, int]:
    return {name: index for index, name in enumerate(in_label_order(image.classname for image in images))}


def _rename(split: Split, names: Mapping[str, str]) -> Split:
    renamed = (tuple(replace(i, classname=names.get(i.classname, i.classname)) for i in part) for part in split)
    return Split(*renamed)


def _describe_bad(bad: frozenset[str]) -> str:
    shown = ", ".join(repr(path) for path in sorted(bad)[:NAMES_SHOWN])
    return f"{len(bad)} images cannot be read: {shown}" + (", ..." if len(bad) > NAMES_SHOWN else "")

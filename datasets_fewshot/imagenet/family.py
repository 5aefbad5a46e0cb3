"""The shared reader of ImageNet and its variants: one folder per wnid, sorted; class names by CLIP's authors."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from datasets_fewshot.dataset import Item
from datasets_fewshot.images.folder_index import index_folders
from datasets_fewshot.images.folders import holds_images
from datasets_fewshot.paper_format.facts import imagenet_family_wnids, imagenet_names
from datasets_fewshot.paper_format.fallback import read_lines
from datasets_fewshot.paper_format.layouts import Place
from datasets_fewshot.splits.validation import NAMES_SHOWN, SplitError


def wnid_items(place: Place, folder: str, name: str) -> tuple[Item, ...]:
    """List all images below a folder of wnid folders.

    Args:
        folder: path below the image root; "" for the image root itself.
        name: the data set, which decides the wnids that must be present.

    Raises:
        SplitError: if wnid folders are missing, unknown or empty, because labels would shift silently.
    """
    wnids = imagenet_family_wnids(name)
    root = place.image_root / folder
    index = index_folders(root)
    folders = {wnid: names for wnid, names in index.items() if _is_wnid(wnid)}
    _check_folders(set(wnids), folders, root)
    classnames = read_classnames(place)
    prefix = f"{folder}/" if folder else ""
    return labelled_items({f"{prefix}{wnid}": folders[wnid] for wnid in wnids}, [classnames[wnid] for wnid in wnids])


def labelled_items(names: Mapping[str, list[str]], classnames: list[str]) -> tuple[Item, ...]:
    """Turn a mapping folder -> image names, with folders in label order, into items."""
    with _no_garbage_collection():
        return tuple(
            Item(f"{folder}/{name}", label, classnames[label])
            for label, folder in enumerate(names)
            for name in names[folder]
        )


def read_classnames(place: Place) -> Mapping[str, str]:
    """Map wnid -> class name: the known names, updated from a classnames.txt (lines "n01440764 tench") if there is one.

    Raises:
        SplitError: if a line is not a wnid and a name.
    """
    try:
        path = place.file("classnames.txt")
    except FileNotFoundError:
        return imagenet_names()
    names = dict(imagenet_names())
    for number, line in enumerate(read_lines(path), start=1):
        wnid, _, name = line.partition(" ")
        if not _is_wnid(wnid) or not name:
            raise SplitError(f"{path}: line {number} is {line!r}; expected a wnid and a name, like 'n01440764 tench'")
        names[wnid] = name
    return names


def _is_wnid(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdigit()


def _check_folders(expected: set[str], folders: Mapping[str, list[str]], root: Path) -> None:
    faults = {
        "missing": sorted(expected - set(folders)),
        "not of this data set": sorted(set(folders) - expected),
        "empty": sorted(wnid for wnid in expected & set(folders) if not folders[wnid]),
    }
    for fault, wnids in faults.items():
        if wnids:
            shown = ", ".join(wnids[:NAMES_SHOWN]) + (", ..." if len(wnids) > NAMES_SHOWN else "")
            advice = "extract every class into a folder of its own (validation images too)"
            if fault == "missing" and not folders and holds_images(root, depth=0):
                advice = "its images lie flat, as in the original archive: move each into the folder of its wnid"
            raise SplitError(f"{root}: {len(wnids)} of {len(expected)} wnid folders are {fault}: {shown}; {advice}")


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause garbage collection inside the block: scanning a million live items would double the time to make them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

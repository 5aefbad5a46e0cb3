"""Fetch a data set with torchvision's downloader if it has one, and link folders as CoOp's code expects them."""

import os
from collections.abc import Callable
from pathlib import Path

from datasets_fewshot.paper_format.layouts import Place, find_places
from datasets_fewshot.paper_format.paper_dataset import PaperDataset

# Names of torchvision's classes, each of which makes the folder of the "torchvision" layout below the root.
DOWNLOADERS = {
    "caltech101": "Caltech101",
    "oxford_pets": "OxfordIIITPet",
    "oxford_flowers": "Flowers102",
    "food101": "Food101",
    "fgvc_aircraft": "FGVCAircraft",
    "sun397": "SUN397",
    "dtd": "DTD",
    "eurosat": "EuroSAT",
}


def prepare(dataset: PaperDataset, root: Path, say: Callable[[str], None]) -> None:
    """Download missing files and make the links; existing files are left alone, so that a second call resumes.

    Args:
        say: called with one sentence per step.

    Raises:
        ValueError: if there is no downloader for this data set; the message names the source.
        OSError: if the download fails.
    """
    if not any(place.has_images for place in find_places(root, dataset.layouts)):
        _download(dataset, root, say)
    place = dataset.find(root)
    say(f"{dataset.title} is in {place.folder}")
    _link(dataset, root, place, say)


def _download(dataset: PaperDataset, root: Path, say: Callable[[str], None]) -> None:
    if dataset.name not in DOWNLOADERS:
        raise ValueError(
            f"torchvision cannot download {dataset.title}; get it from {dataset.source} and put it into "
            f"{root / dataset.layouts[0].folder / dataset.layouts[0].images}"
        )
    from torchvision import datasets

    root.mkdir(parents=True, exist_ok=True)
    say(f"downloading {dataset.title} with torchvision into {root}; a download that stopped goes on from its archives")
    try:
        getattr(datasets, DOWNLOADERS[dataset.name])(str(root), download=True)
    except (RuntimeError, OSError) as error:
        where, _, _ = dataset.source.partition(" (or: ")  # the rest names the command that is running
        raise OSError(
            f"torchvision could not download {dataset.title} ({error}); try again, or get it from {where}"
        ) from error


def _link(dataset: PaperDataset, root: Path, place: Place, say: Callable[[str], None]) -> None:
    """Link CoOp's folder, or only its image folder if the folder is in use, to the data by a relative path."""
    coop = dataset.layouts[0]
    if place.layout == coop and place.is_exact:
        return
    link, target = root / coop.folder, place.folder
    if place.layout.images != coop.images or link.exists() or not place.is_exact:
        link, target = root / coop.folder / coop.images, place.image_root
    if link.exists() or link.is_symlink():
        say(f"{link} is in the way of a link to {target}, which is used all the same; remove it if nothing needs it")
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)
    say(f"linked {link} to {target}")

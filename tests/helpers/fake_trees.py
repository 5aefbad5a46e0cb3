"""Fake trees of the papers' data sets: real class lists and file patterns, with a few tiny images.

A tree holds the files that its layout's users have: images, annotation files, and by default the papers' split file.
"""

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datasets_fewshot import PAPER_DATASETS
from datasets_fewshot.paper_format.facts import facts, imagenet_family_wnids, imagenet_names
from datasets_fewshot.paper_format.layouts import Layout
from datasets_fewshot.papers.caltech101 import RENAMED
from datasets_fewshot.papers.eurosat import CLASSNAMES

Counts = tuple[int, int, int]  # images per class in train, val, test
Rows = list[tuple[str, int, str]]  # (path below the image root, label, class name)
PARTS = ("train", "val", "test")
IMAGENET_VARIANTS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")


@dataclass(frozen=True)
class Tree:
    """A fake data set below `root`."""

    name: str
    root: Path
    folder: Path
    image_root: Path
    lists: dict[str, Rows]


def make_tree(name: str, root: Path, layout: Layout, counts: Counts = (2, 1, 1), split_file: bool = True) -> Tree:
    """Make a fake data set below `root` in the given layout."""
    folder = root / layout.folder
    image_root = folder / layout.images
    lists = _lists(name, counts)
    tree = Tree(name, root, folder, image_root, lists)
    _write_images(tree)
    if name == "imagenet" or name in IMAGENET_VARIANTS:
        if layout.name == "coop":
            lines = [f"{wnid} {classname}" for wnid, classname in imagenet_names().items()]
            (folder / "classnames.txt").write_text("\n".join(lines))
    else:
        ANNOTATIONS.get(name, lambda tree: None)(tree)
        if split_file and PAPER_DATASETS[name].split_file:
            (folder / PAPER_DATASETS[name].split_file).write_text(json.dumps(lists))
    return tree


def _lists(name: str, counts: Counts) -> dict[str, Rows]:
    path_of = PATHS[name]
    lists: dict[str, Rows] = {}
    first = 1
    if name == "imagenet":
        counts = (counts[0], 0, counts[2])  # the validation images are the test images
    for part, count in zip(PARTS, counts, strict=True):
        rows = [
            (path_of(classname, label, first + index, part), label, classname)
            for label, classname in enumerate(facts(name).classnames)
            for index in range(count)
        ]
        if name not in ("imagenet", *IMAGENET_VARIANTS):  # the others' split files have any order
            random.Random(name + part).shuffle(rows)
        lists[part] = rows
        first += count
    return lists


def _write_images(tree: Tree) -> None:
    """Make every image a link to one of three files, so that thousands of them take no time."""
    originals = []
    tree.root.mkdir(parents=True, exist_ok=True)
    for index, color in enumerate([(200, 30, 10), (10, 200, 30), (30, 10, 200)]):
        path = tree.root / f".picture{index}.jpg"
        if not path.is_file():
            Image.effect_noise((40, 32), 60).convert("RGB").point(lambda value, c=color: (value + c[0]) // 2).save(path)
        originals.append(path)
    made = set()
    for rows in tree.lists.values():
        for place, label, _ in rows:
            target = tree.image_root / place
            if target.parent not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(target.parent)
            os.link(originals[label % len(originals)], target)


def _caltech(classname: str, label: int, number: int, part: str) -> str:
    folder = {new: old for old, new in RENAMED.items()}.get(classname, classname)
    return f"{folder}/image_{number:04d}.jpg"


def _eurosat(classname: str, label: int, number: int, part: str) -> str:
    folder = {new: old for old, new in CLASSNAMES.items()}[classname]
    return f"{folder}/{folder}_{number}.jpg"


def _pets(classname: str, label: int, number: int, part: str) -> str:
    return f"{classname.capitalize() if label % 3 == 0 else classname}_{number}.jpg"


def _serial(label: int, number: int) -> int:
    return label * 40 + number


def _sun(classname: str, label: int, number: int, part: str) -> str:
    *inner, scene = classname.split(" ")
    return "/".join([scene[0], scene, *reversed(inner), f"sun_{label}_{number}.jpg"])


def _ucf(classname: str, label: int, number: int, part: str) -> str:
    return f"{classname}/v_{classname.replace('_', '')}_g{number:02d}_c01.jpg"


def _odd_name(classname: str, label: int, number: int, part: str) -> str:
    """Path with a folder per class; some names have spaces, accents or upper-case extensions."""
    return f"{classname}/{'é à' if label % 2 else classname} {number}.{'JPG' if number % 2 else 'jpg'}"


def _wnid_path(name: str) -> Callable[[str, int, int, str], str]:
    def path(classname: str, label: int, number: int, part: str) -> str:
        wnid = imagenet_family_wnids(name)[label]
        folder = {"imagenet": f"{part}/{wnid}".replace("test", "val"), "imagenetv2": str(label)}.get(name, wnid)
        return f"{folder}/{wnid}_{number}.JPEG"

    return path


PATHS: dict[str, Callable[[str, int, int, str], str]] = {
    "caltech101": _caltech,
    "dtd": _odd_name,
    "eurosat": _eurosat,
    "fgvc_aircraft": lambda classname, label, number, part: f"{_serial(label, number):07d}.jpg",
    "food101": _odd_name,
    "oxford_flowers": lambda classname, label, number, part: f"image_{_serial(label, number):05d}.jpg",
    "oxford_pets": _pets,
    "stanford_cars": lambda classname, label, number, part: (
        f"cars_{'test' if part == 'test' else 'train'}/{_serial(label, number):05d}.jpg"
    ),
    "sun397": _sun,
    "ucf101": _ucf,
    **{name: _wnid_path(name) for name in ("imagenet", *IMAGENET_VARIANTS)},
}


def _trainval(tree: Tree) -> Rows:
    return tree.lists["train"] + tree.lists["val"]


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _annotate_caltech(tree: Tree) -> None:
    for folder in ("BACKGROUND_Google", "Faces_easy"):
        (tree.image_root / folder).mkdir()
        os.link(tree.root / ".picture0.jpg", tree.image_root / folder / "image_0001.jpg")


def _annotate_pets(tree: Tree) -> None:
    for part, rows in (("trainval", _trainval(tree)), ("test", tree.lists["test"])):
        lines = [f"{path.removesuffix('.jpg')} {label + 1} 1 1" for path, label, _ in rows]
        _write(tree.folder / "annotations" / f"{part}.txt", lines)


def _annotate_cars(tree: Tree) -> None:
    from scipy.io import savemat

    names = [" ".join(name.split(" ")[1:] + name.split(" ")[:1]) for name in facts(tree.name).classnames]
    devkit = tree.folder / "devkit"
    devkit.mkdir()
    savemat(devkit / "cars_meta.mat", {"class_names": np.array(names, dtype=object)})
    for file, rows in (
        ("devkit/cars_train_annos", _trainval(tree)),
        ("cars_test_annos_withlabels", tree.lists["test"]),
    ):
        annotations = np.array(
            [(label + 1, path.split("/")[1]) for path, label, _ in rows], dtype=[("class", "O"), ("fname", "O")]
        )
        savemat(tree.folder / f"{file}.mat", {"annotations": annotations})


def _annotate_flowers(tree: Tree) -> None:
    from scipy.io import savemat

    # imagelabels.mat has a label for every number from 1; images are renumbered without gaps
    rows = sorted(row for part in PARTS for row in tree.lists[part])
    renamed = {path: f"image_{number:05d}.jpg" for number, (path, _, _) in enumerate(rows, start=1)}
    for old, new in renamed.items():
        (tree.image_root / old).rename(tree.image_root / new)
    for part in PARTS:
        tree.lists[part] = [(renamed[path], label, name) for path, label, name in tree.lists[part]]
    savemat(tree.folder / "imagelabels.mat", {"labels": np.array([[label + 1 for _, label, _ in rows]], np.uint8)})
    names = {str(label): name for label, name in enumerate(facts(tree.name).classnames, start=1)}
    if tree.folder.name != "flowers-102":  # torchvision's downloader does not fetch the names
        (tree.folder / "cat_to_name.json").write_text(json.dumps(names))


def _annotate_aircraft(tree: Tree) -> None:
    _write(tree.folder / "variants.txt", list(facts(tree.name).classnames))
    for part in PARTS:
        lines = [f"{path.removesuffix('.jpg')} {name}" for path, _, name in tree.lists[part]]
        _write(tree.folder / f"images_variant_{part}.txt", lines)


def _annotate_sun(tree: Tree) -> None:
    folders = {label: path.rsplit("/", 1)[0] for path, label, _ in tree.lists["train"]}
    _write(tree.folder / "ClassName.txt", [f"/{folders[label]}" for label in sorted(folders)])
    _write(tree.folder / "Training_01.txt", [f"/{path}" for path, _, _ in _trainval(tree)])
    _write(tree.folder / "Testing_01.txt", [f"/{path}" for path, _, _ in tree.lists["test"]])


def _annotate_ucf(tree: Tree) -> None:
    folder = tree.folder / "ucfTrainTestlist"
    actions = [name.replace("_", "") for name in facts(tree.name).classnames]
    _write(folder / "classInd.txt", [f"{number} {action}" for number, action in enumerate(actions, start=1)])

    def video(path: str, label: int) -> str:
        return f"{actions[label]}/{path.split('/')[1].replace('.jpg', '.avi')}"

    _write(folder / "trainlist01.txt", [f"{video(path, label)} {label + 1}" for path, label, _ in _trainval(tree)])
    _write(folder / "testlist01.txt", [video(path, label) for path, label, _ in tree.lists["test"]])


ANNOTATIONS: dict[str, Callable[[Tree], None]] = {
    "caltech101": _annotate_caltech,
    "oxford_pets": _annotate_pets,
    "stanford_cars": _annotate_cars,
    "oxford_flowers": _annotate_flowers,
    "fgvc_aircraft": _annotate_aircraft,
    "sun397": _annotate_sun,
    "ucf101": _annotate_ucf,
}

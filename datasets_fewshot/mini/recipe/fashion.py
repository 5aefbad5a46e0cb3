"""A sample of Fashion-MNIST: real photographs of clothes, 28 x 28, grey on black."""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from .packing import Suite, label_rows, webp

ARCHIVE = "fashion_mnist.zip"
FOLDER = "fashion-mnist/usr/share/datasets/fashion-mnist"
CLASSNAMES = (
    "t-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
PER_CLASS = {"train": 40, "val": 10, "test": 150}
SEED = 0


def read_part(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read images (N, 28, 28) uint8 and labels (N,) from the original "train" or "t10k" files."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images, labels


def fashion_suite(work: Path) -> tuple[Suite, dict[str, bytes]]:
    """Draw train and validation images from the original training file, and test images from the test file."""
    generator = np.random.default_rng(SEED)
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    members = {}
    for part, lists in (("train", ("train", "val")), ("t10k", ("test",))):
        images, labels = read_part(work / "raw" / FOLDER, part)
        for label, classname in enumerate(CLASSNAMES):
            drawn = iter(generator.permutation(np.flatnonzero(labels == label)))
            for name in lists:
                for index in sorted(next(drawn) for _ in range(PER_CLASS[name])):
                    path = f"{name}/{classname.replace(' ', '_')}/{index:05d}.webp"
                    members[path] = webp(Image.fromarray(images[index]).convert("RGB"), lossless=True)
                    rows[name].append((path, classname))
    train, val, test = (label_rows(found, list(CLASSNAMES)) for found in rows.values())
    families = {name: ["fashion-mnist"] for name in rows}
    suite = Suite("fashion_mnist", ARCHIVE, train, val, test, families, ["fashion-mnist"])
    return suite, members

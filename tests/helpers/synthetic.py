"""A small data set of coloured noise, one colour per class, for tests of training, runs and the command."""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets_fewshot import FewShotDataset, Item, Split

NAMES = ("red panda", "green_tea", "blue whale", "grey wolf")
COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128))


def synthetic_dataset(folder: Path, name: str = "noise", train: int = 5, val: int = 2, test: int = 3) -> FewShotDataset:
    """Four classes with the given numbers of images, written below the folder unless they exist."""
    rng = np.random.default_rng(0)
    lists: dict[str, tuple[Item, ...]] = {}
    for part, count in (("train", train), ("val", val), ("test", test)):
        items = []
        for label, colour in enumerate(COLOURS):
            for index in range(count):
                path = f"{part}/{label}_{index}.png"
                pixels = rng.integers(-40, 40, (36, 36, 3)) + colour
                (folder / part).mkdir(parents=True, exist_ok=True)
                if not (folder / path).exists():
                    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / path)
                items.append(Item(path, label, NAMES[label]))
        lists[part] = tuple(items)
    return FewShotDataset(name, folder, Split(lists["train"], lists["val"], lists["test"]))

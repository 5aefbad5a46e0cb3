"""Pictures with several labels, composed of the embedded icons, and the table that lists them.

A picture shows none, one or two of eight icons' classes on a white square, or an icon of another class where it shows
none. Pictures for training are made of training icons and those for testing of test icons.
"""

import csv
import random
from pathlib import Path

from PIL import Image

from datasets_fewshot import Item, load_dataset

SIDE, ICON = 96, 56  # pixels of a picture, and of an icon in it
LABELS = ("battery", "calculator", "compass", "folder", "hourglass", "map", "paperclip", "shopping bag")
OTHERS = ("bell", "camera", "cloud", "flag", "heart", "key", "moon", "padlock")
COUNTS = (0, 1, 2, 2)  # how many labels a picture has, each as likely
TABLE = "collages.csv"


def write_collages(folder: Path, train: int = 240, test: int = 240, seed: int = 1) -> Path:
    """Write pictures and a table of their paths, labels and parts into a folder; returns the table.

    Args:
        train: pictures for training; `test` is alike.
    """
    icons, rng = load_dataset("icons"), random.Random(seed)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rows = []
    for part, count, items in (("train", train, icons.split.train), ("test", test, icons.split.test)):
        drawings: dict[str, list[Item]] = {}
        for item in items:
            drawings.setdefault(item.classname, []).append(item)
        for number in range(count):
            labels = rng.sample(LABELS, rng.choice(COUNTS))
            shown = labels or [rng.choice(OTHERS)]
            picture = Image.new("RGB", (SIDE, SIDE), "white")
            for name, place in zip(shown, _places(len(shown), rng), strict=True):
                drawing = icons.load(rng.choice(drawings[name]))
                picture.paste(drawing.resize((ICON, ICON), Image.Resampling.BICUBIC), place)
            path = f"pictures/{part}_{number:04d}.png"
            picture.save(folder / path)
            rows.append((path, "|".join(sorted(labels)), part))
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "labels", "split"), *rows])
    return folder / TABLE


def _places(count: int, rng: random.Random) -> list[tuple[int, int]]:
    """Upper left corners of icons: anywhere for one, opposite corners for two."""
    end = SIDE - ICON
    if count == 1:
        return [(rng.randrange(end), rng.randrange(end))]
    corners = rng.choice([[(0, 0), (end, end)], [(0, end), (end, 0)]])
    return rng.sample(corners, 2)

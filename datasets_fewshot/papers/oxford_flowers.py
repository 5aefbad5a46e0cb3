"""Flowers102 (Nilsback and Zisserman, 2008): 102 flowers; the papers' split differs from the official one."""

import random

from adaptkit.regular_file import read_json
from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.paper_format.facts import facts
from datasets_fewshot.paper_format.fallback import read_mat, split_per_class
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import DRIVE, PaperDataset
from datasets_fewshot.splits.validation import SplitError


def read_names(place: Place) -> tuple[str, ...]:
    """Class names in label order, from cat_to_name.json ({"1": "pink primrose", ...}) or from the known facts."""
    try:
        path = place.file("cat_to_name.json")
    except FileNotFoundError:
        return facts("oxford_flowers").classnames
    names = read_json(path, "table of names")
    numbers = [str(number) for number in range(1, len(facts("oxford_flowers").classnames) + 1)]
    if not isinstance(names, dict) or any(not isinstance(names.get(number), str) for number in numbers):
        raise SplitError(f'{path}: expected a name for each number, like {{"1": "pink primrose"}}, up to {numbers[-1]}')
    return tuple(names[number] for number in numbers)


def build_fallback(place: Place, rng: random.Random) -> Split:
    names = read_names(place)
    path = place.file("imagelabels.mat")
    labels = [int(label) - 1 for label in read_mat(path, "labels")]
    if strange := sorted({label + 1 for label in labels} - set(range(1, len(names) + 1))):
        raise SplitError(f"{path}: there is a label {strange[0]}; expected numbers from 1 to {len(names)}")
    items = [Item(f"image_{index:05d}.jpg", label, names[label]) for index, label in enumerate(labels, start=1)]
    return split_per_class(items, rng)


DATASET = PaperDataset(
    name="oxford_flowers",
    title="Flowers102",
    layouts=(
        Layout("coop", "oxford_flowers", "jpg"),
        Layout("clip_lora", "Flower102", "jpg"),
        Layout("torchvision", "flowers-102", "jpg"),
    ),
    source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ (or: adaptkit data prepare oxford_flowers)",
    split_file="split_zhou_OxfordFlowers.json",
    split_link=DRIVE + "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT",
    fallback=build_fallback,
    rebuilt_from="imagelabels.mat",
)

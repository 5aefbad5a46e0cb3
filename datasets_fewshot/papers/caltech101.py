"""Caltech101 (Fei-Fei et al., 2004): 100 classes, without the background class and the cut-out faces."""

import random

from datasets_fewshot.dataset import Split
from datasets_fewshot.paper_format.fallback import folder_items, split_per_class
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import DRIVE, PaperDataset

IGNORED = ("BACKGROUND_Google", "Faces_easy")
RENAMED = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}


def build_fallback(place: Place, rng: random.Random) -> Split:
    items = folder_items(place.image_root, lambda folder: RENAMED.get(folder, folder), IGNORED)
    return split_per_class(items, rng)


DATASET = PaperDataset(
    name="caltech101",
    title="Caltech101",
    layouts=(
        Layout("coop", "caltech-101", "101_ObjectCategories"),
        Layout("clip_lora", "Caltech101", "101_ObjectCategories"),
        Layout("torchvision", "caltech101", "101_ObjectCategories"),
    ),
    source="https://data.caltech.edu/records/mzrjq-6wc02 (or: adaptkit data prepare caltech101)",
    split_file="split_zhou_Caltech101.json",
    split_link=DRIVE + "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN",
    fallback=build_fallback,
)

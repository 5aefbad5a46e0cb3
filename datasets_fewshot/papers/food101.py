"""Food101 (Bossard et al., 2014): 101 dishes, one folder per dish."""

import random

from datasets_fewshot.dataset import Split
from datasets_fewshot.paper_format.fallback import folder_items, split_per_class
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import DRIVE, PaperDataset


def build_fallback(place: Place, rng: random.Random) -> Split:
    return split_per_class(folder_items(place.image_root), rng)


DATASET = PaperDataset(
    name="food101",
    title="Food101",
    layouts=(
        Layout("coop", "food-101", "images"),  # torchvision's downloader makes the same folder
        Layout("clip_lora", "Food101", "images"),
    ),
    source="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/ (or: adaptkit data prepare food101)",
    split_file="split_zhou_Food101.json",
    split_link=DRIVE + "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl",
    fallback=build_fallback,
)

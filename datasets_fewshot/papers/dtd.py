"""DTD, the describable textures (Cimpoi et al., 2014): 47 classes, one folder per class."""

import random

from datasets_fewshot.dataset import Split
from datasets_fewshot.paper_format.fallback import folder_items, split_per_class
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import DRIVE, PaperDataset


def build_fallback(place: Place, rng: random.Random) -> Split:
    return split_per_class(folder_items(place.image_root), rng)


DATASET = PaperDataset(
    name="dtd",
    title="DTD",
    layouts=(
        Layout("coop", "dtd", "images"),
        Layout("clip_lora", "DTD", "images"),
        Layout("torchvision", "dtd/dtd", "images"),
    ),
    source="https://www.robots.ox.ac.uk/~vgg/data/dtd/ (or: adaptkit data prepare dtd)",
    split_file="split_zhou_DescribableTextures.json",
    split_link=DRIVE + "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x",
    fallback=build_fallback,
)

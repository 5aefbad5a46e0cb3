"""OxfordPets (Parkhi et al., 2012): 37 breeds of cats and dogs; the breed is in the file name."""

import random

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.paper_format.fallback import counted_from_0, hold_out_val, read_rows
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import DRIVE, PaperDataset


def read_annotations(place: Place, name: str) -> list[Item]:
    """Read lines "Abyssinian_100 1 1 1": file stem, label counted from 1, species, breed within the species."""
    path = place.file(f"annotations/{name}", name)
    return read_rows(path, parse_line, "a file stem and a label from 1, like 'Abyssinian_100 1 1 1'")


def parse_line(line: str) -> Item:
    stem, label, *_ = line.split()
    return Item(f"{stem}.jpg", counted_from_0(label), stem.rsplit("_", 1)[0].lower())


def build_fallback(place: Place, rng: random.Random) -> Split:
    return hold_out_val(read_annotations(place, "trainval.txt"), read_annotations(place, "test.txt"), rng)


DATASET = PaperDataset(
    name="oxford_pets",
    title="OxfordPets",
    layouts=(
        Layout("coop", "oxford_pets", "images"),
        Layout("clip_lora", "OxfordPets", "images"),
        Layout("torchvision", "oxford-iiit-pet", "images"),
    ),
    source="https://www.robots.ox.ac.uk/~vgg/data/pets/ (or: adaptkit data prepare oxford_pets)",
    split_file="split_zhou_OxfordPets.json",
    split_link=DRIVE + "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs",
    fallback=build_fallback,
    rebuilt_from="annotations/trainval.txt and test.txt",
)

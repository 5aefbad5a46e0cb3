"""StanfordCars (Krause et al., 2013): 196 models; class names begin with the year."""

import random

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.paper_format.fallback import hold_out_val, read_mat
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import DRIVE, PaperDataset
from datasets_fewshot.splits.validation import SplitError


def year_first(name: str) -> str:
    """Move the year to the front: "Acura RL Sedan 2012" -> "2012 Acura RL Sedan"."""
    model, _, year = name.rpartition(" ")
    return f"{year} {model}"


def read_annotations(place: Place, folder: str, *files: str) -> list[Item]:
    names = [year_first(str(name)) for name in read_mat(place.file("devkit/cars_meta.mat"), "class_names")]
    path = place.file(*files)
    rows = read_mat(path, "annotations")
    if rows.dtype.names is None or not {"class", "fname"} <= set(rows.dtype.names):
        raise SplitError(f"{path}: annotations have the fields {rows.dtype.names}; expected class and fname")
    labels = [int(row["class"]) - 1 for row in rows]
    if strange := sorted(set(labels) - set(range(len(names)))):
        raise SplitError(f"{path}: there is a class {strange[0] + 1}; expected numbers from 1 to {len(names)}")
    return [Item(f"{folder}/{row['fname']}", label, names[label]) for row, label in zip(rows, labels, strict=True)]


def build_fallback(place: Place, rng: random.Random) -> Split:
    trainval = read_annotations(place, "cars_train", "devkit/cars_train_annos.mat")
    labelled = "cars_test_annos_withlabels.mat"
    test = read_annotations(place, "cars_test", labelled, f"devkit/{labelled}")
    return hold_out_val(trainval, test, rng)


DATASET = PaperDataset(
    name="stanford_cars",
    title="StanfordCars",
    layouts=(
        Layout("coop", "stanford_cars", marker="cars_train"),  # torchvision reads the same folder
        Layout("clip_lora", "StanfordCars", marker="cars_train"),
        Layout("mirror", "stanford-cars", marker="cars_train"),
    ),
    source="a mirror of https://ai.stanford.edu/~jkrause/cars/car_dataset.html, whose own links are dead",
    split_file="split_zhou_StanfordCars.json",
    split_link=DRIVE + "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT",
    fallback=build_fallback,
    rebuilt_from="its devkit",
)

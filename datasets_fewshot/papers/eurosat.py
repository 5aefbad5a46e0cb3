"""EuroSAT (Helber et al., 2019): 10 kinds of land, seen by a satellite; folder names are reworded for CLIP."""

import random

from datasets_fewshot.dataset import Split
from datasets_fewshot.paper_format.fallback import folder_items, split_per_class
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import DRIVE, PaperDataset
from datasets_fewshot.splits.validation import SplitError

CLASSNAMES = {
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}


def class_name(folder: str) -> str:
    if folder not in CLASSNAMES:
        raise SplitError(f"{folder!r} is none of EuroSAT's folders ({', '.join(CLASSNAMES)}); use the RGB archive")
    return CLASSNAMES[folder]


def build_fallback(place: Place, rng: random.Random) -> Split:
    return split_per_class(folder_items(place.image_root, class_name), rng)


DATASET = PaperDataset(
    name="eurosat",
    title="EuroSAT",
    layouts=(
        Layout("coop", "eurosat", "2750"),  # torchvision's downloader and CLIP-LoRA have the same folder
        Layout("mirror", "EuroSAT", "2750"),
        Layout("mirror", "eurosat", "EuroSAT_RGB"),
        Layout("mirror", "EuroSAT", "EuroSAT_RGB"),
        Layout("mirror", "EuroSAT_RGB"),
    ),
    source="https://github.com/phelber/EuroSAT (or: adaptkit data prepare eurosat)",
    split_file="split_zhou_EuroSAT.json",
    split_link=DRIVE + "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o",
    fallback=build_fallback,
)

"""The papers' data sets in the order of their tables: the eleven, and ImageNet's four variants for testing."""

from datasets_fewshot.imagenet import imagenet, imagenet_a, imagenet_r, imagenet_sketch, imagenetv2
from datasets_fewshot.paper_format.paper_dataset import PaperDataset
from datasets_fewshot.papers import (
    caltech101,
    dtd,
    eurosat,
    fgvc_aircraft,
    food101,
    oxford_flowers,
    oxford_pets,
    stanford_cars,
    sun397,
    ucf101,
)
from datasets_fewshot.registry import register_dataset

ELEVEN = (
    imagenet,
    caltech101,
    oxford_pets,
    stanford_cars,
    oxford_flowers,
    food101,
    fgvc_aircraft,
    sun397,
    dtd,
    eurosat,
    ucf101,
)
VARIANTS = (imagenetv2, imagenet_sketch, imagenet_a, imagenet_r)

PAPER_DATASETS: dict[str, PaperDataset] = {module.DATASET.name: module.DATASET for module in (*ELEVEN, *VARIANTS)}

for module in ELEVEN:
    register_dataset(module.DATASET.name, "paper", module.DATASET.load)
for module in VARIANTS:
    register_dataset(module.DATASET.name, "imagenet_variants", module.DATASET.load)

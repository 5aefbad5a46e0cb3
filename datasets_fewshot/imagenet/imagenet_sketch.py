"""ImageNet-Sketch (Wang et al., 2019): drawings of ImageNet's 1,000 classes."""

from datasets_fewshot.dataset import Split
from datasets_fewshot.imagenet.family import wnid_items
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import PaperDataset


def read_official(place: Place) -> Split:
    return Split((), (), wnid_items(place, "", "imagenet_sketch"))


DATASET = PaperDataset(
    name="imagenet_sketch",
    title="ImageNet-Sketch",
    layouts=(
        Layout("coop", "imagenet-sketch", "images"),
        Layout("mirror", "imagenet-sketch", "sketch"),
        Layout("mirror", "sketch"),
    ),
    source="https://github.com/HaohanWang/ImageNet-Sketch",
    official=read_official,
    is_listed=True,
)

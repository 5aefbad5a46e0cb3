"""ImageNet-R (Hendrycks et al., 2021): art and other renditions of 200 of ImageNet's classes."""

from datasets_fewshot.dataset import Split
from datasets_fewshot.imagenet.family import wnid_items
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import PaperDataset


def read_official(place: Place) -> Split:
    return Split((), (), wnid_items(place, "", "imagenet_r"))


DATASET = PaperDataset(
    name="imagenet_r",
    title="ImageNet-R",
    layouts=(
        Layout("coop", "imagenet-rendition", "imagenet-r"),
        Layout("mirror", "imagenet-r", "imagenet-r"),
        Layout("mirror", "imagenet-r"),
    ),
    source="https://github.com/hendrycks/imagenet-r",
    official=read_official,
    is_listed=True,
)

"""ImageNet-A (Hendrycks et al., 2021): photographs that fool classifiers, from 200 of ImageNet's classes."""

from datasets_fewshot.dataset import Split
from datasets_fewshot.imagenet.family import wnid_items
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import PaperDataset


def read_official(place: Place) -> Split:
    return Split((), (), wnid_items(place, "", "imagenet_a"))


DATASET = PaperDataset(
    name="imagenet_a",
    title="ImageNet-A",
    layouts=(
        Layout("coop", "imagenet-adversarial", "imagenet-a"),
        Layout("mirror", "imagenet-a", "imagenet-a"),
        Layout("mirror", "imagenet-a"),
    ),
    source="https://github.com/hendrycks/natural-adv-examples",
    official=read_official,
    is_listed=True,
)

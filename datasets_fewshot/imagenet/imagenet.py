"""ImageNet (Deng et al., 2009): 1,000 classes; the validation images are the test images."""

from datasets_fewshot.dataset import Split
from datasets_fewshot.imagenet.family import wnid_items
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import PaperDataset


def read_official(place: Place) -> Split:
    return Split(wnid_items(place, "train", "imagenet"), (), wnid_items(place, "val", "imagenet"))


DATASET = PaperDataset(
    name="imagenet",
    title="ImageNet",
    layouts=(
        Layout("coop", "imagenet", "images", marker="train"),
        Layout("clip_lora", "imagenet", marker="train"),
        Layout("torchvision", "ImageNet", marker="train"),
        Layout("torchvision", "ILSVRC2012", marker="train"),
        Layout("torchvision", "", marker="train"),  # torchvision.datasets.ImageNet(root) keeps train and val in root
    ),
    source="https://image-net.org (an account is needed)",
    official=read_official,
    notes=(
        "ImageNet's few-shot draw is from sorted file names; the papers' depended on their file system "
        "and cannot be repeated",
    ),
    is_listed=True,
)

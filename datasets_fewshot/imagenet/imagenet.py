"""ImageNet (Deng et al., 2009): 1,000 classes; the validation images are the test images."""

from datasets_fewshot.dataset import Split
from datasets_fewshot.imagenet.family import wnid_items
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import PaperDataset

WNID = "n????????"  # the folder of a class


def read_official(place: Place) -> Split:
    return Split(wnid_items(place, "train", "imagenet"), (), wnid_items(place, "val", "imagenet"))


DATASET = PaperDataset(
    name="imagenet",
    title="ImageNet",
    layouts=(
        Layout("coop", "imagenet", "images", marker="train", holds=WNID),
        Layout("clip_lora", "imagenet", marker="train", holds=WNID),
        Layout("torchvision", "ImageNet", marker="train", holds=WNID),
        Layout("torchvision", "ILSVRC2012", marker="train", holds=WNID),
        Layout("mirror", "imagenet/ILSVRC/Data/CLS-LOC", marker="train", holds=WNID),  # Kaggle's archive
        Layout("mirror", "ILSVRC/Data/CLS-LOC", marker="train", holds=WNID),
        # torchvision.datasets.ImageNet(root) keeps train and val in the root, where other data may have a train, too.
        Layout("torchvision", "", marker="train", holds=WNID),
    ),
    source="https://image-net.org (an account is needed)",
    official=read_official,
    notes=(
        "ImageNet's few-shot draw is from sorted file names; the papers' depended on their file system "
        "and cannot be repeated",
    ),
    is_listed=True,
)

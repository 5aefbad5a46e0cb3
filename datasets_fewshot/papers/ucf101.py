"""UCF101 (Soomro et al., 2012): 101 actions, the middle frame of each video; CamelCase names are split into words."""

import random
import re

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.paper_format.fallback import counted_from_0, hold_out_val, read_rows
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import DRIVE, PaperDataset


def action_name(camel_case: str) -> str:
    """Split a name at its capitals: "ApplyEyeMakeup" -> "Apply_Eye_Makeup"."""
    return "_".join(re.findall("[A-Z][^A-Z]*", camel_case))


def read_list(place: Place, name: str, label: dict[str, int]) -> list[Item]:
    """Read lines "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1"; the test list has no numbers."""

    def parse(line: str) -> Item:
        action, video = line.split()[0].split("/")
        folder = action_name(action)
        return Item(f"{folder}/{video.removesuffix('.avi')}.jpg", label[action], folder)

    form = "an action of classInd.txt and a video, like 'Archery/v_Archery_g08_c01.avi'"
    return read_rows(place.file(f"ucfTrainTestlist/{name}", name), parse, form)


def parse_class(line: str) -> tuple[str, int]:
    number, action = line.split()
    return action, counted_from_0(number)


def build_fallback(place: Place, rng: random.Random) -> Split:
    path = place.file("ucfTrainTestlist/classInd.txt", "classInd.txt")
    label = dict(read_rows(path, parse_class, "a number from 1 and an action, like '1 ApplyEyeMakeup'"))
    return hold_out_val(read_list(place, "trainlist01.txt", label), read_list(place, "testlist01.txt", label), rng)


DATASET = PaperDataset(
    name="ucf101",
    title="UCF101",
    layouts=(
        Layout("coop", "ucf101", "UCF-101-midframes"),
        Layout("clip_lora", "UCF101", "UCF-101-midframes"),
        Layout("mirror", "", "UCF-101-midframes"),  # torchvision has only the videos, without middle frames
    ),
    source=DRIVE + "10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O (UCF-101-midframes.zip)",
    split_file="split_zhou_UCF101.json",
    split_link=DRIVE + "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y",
    fallback=build_fallback,
    rebuilt_from="ucfTrainTestlist/",
)

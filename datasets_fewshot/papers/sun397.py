"""SUN397 (Xiao et al., 2010): 397 scenes; nested folder names are flattened into class names."""

import random

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.paper_format.fallback import hold_out_val, read_lines, read_rows
from datasets_fewshot.paper_format.layouts import Layout, Place
from datasets_fewshot.paper_format.paper_dataset import DRIVE, PaperDataset


def scene_name(folder: str) -> str:
    """Turn a folder into a class name: drop the letter and reverse the rest, "a/apse/indoor" -> "indoor apse"."""
    return " ".join(reversed(folder.split("/")[1:]))


def read_list(place: Place, name: str, label: dict[str, int]) -> list[Item]:
    """Read a list of image paths, with lines such as "/a/abbey/sun_aaalbzqrimafwbiv.jpg"."""

    def parse(line: str) -> Item:
        path = line.removeprefix("/")
        folder = path.rsplit("/", 1)[0]
        return Item(path, label[folder], scene_name(folder))

    form = "an image in a folder of ClassName.txt, like '/a/abbey/sun_aaalbzqrimafwbiv.jpg'"
    return read_rows(place.file(name, f"Partitions/{name}"), parse, form)


def build_fallback(place: Place, rng: random.Random) -> Split:
    folders = read_lines(place.file("ClassName.txt", "Partitions/ClassName.txt"))
    label = {folder.removeprefix("/"): index for index, folder in enumerate(folders)}
    return hold_out_val(read_list(place, "Training_01.txt", label), read_list(place, "Testing_01.txt", label), rng)


DATASET = PaperDataset(
    name="sun397",
    title="SUN397",
    layouts=(
        Layout("coop", "sun397", "SUN397"),
        Layout("clip_lora", "SUN397", "SUN397"),
        Layout("torchvision", "SUN397", marker="a"),
    ),
    source="https://vision.princeton.edu/projects/2010/SUN/ (or: adaptkit data prepare sun397)",
    split_file="split_zhou_SUN397.json",
    split_link=DRIVE + "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq",
    fallback=build_fallback,
    rebuilt_from="Training_01.txt and Testing_01.txt",
)

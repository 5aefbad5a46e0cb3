"""Texts of embedded images and short trainings with them, for measurements of objectives that read texts.

The embedded data have no captions. Titles that the files carry stand in for them; nothing is written by hand or by a
model:
    emoji_subgroups    names of the file's code points in the Unicode Character Database: "1f427.webp" -> "penguin"
    openclipart        last part of the file's name, artists included: "..-jonathon_s_duck_01.webp" -> "jonathon s duck"
The titles of a class's drawn training images are the captions of the class, and the title of an image its description.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, Examples, create_method
from adaptkit.contract.creation import trained_by
from adaptkit.contract.objective import Trained
from benchmarks.seed_systems.suite import IMAGES_PER_PASS, Part, Suite, backbone, images_of, suite
from datasets_fewshot import FewShotDataset, Item
from trainers.config.training import OptimConfig, ViewConfig
from trainers.feeding.batches import FeatureBatches
from trainers.training.few_shot import train

TITLED = ("emoji_subgroups", "openclipart")
SHOTS = 16
SEEDS = (0, 1, 2)


def title(name: str, item: Item) -> str:
    """The title of an image of the data set `name`."""
    stem = item.path.rpartition("/")[2].partition(".")[0]
    if name == "emoji_subgroups":
        return ", ".join(unicodedata.name(chr(int(code, 16))).lower() for code in stem.split("-"))
    words = stem.rpartition("-")[2].split("_")
    return " ".join(word for word in words if word.isalpha()) or item.classname.replace("_", " ")


@dataclass(frozen=True)
class Draw:
    """Few training images of a data set, with its validation and test images."""

    suite: Suite
    val: Part
    train: Part

    @property
    def titles(self) -> list[str]:
        """The title of every training image."""
        return [title(self.suite.name, item) for item in self.train.items]

    @property
    def captions(self) -> dict[str, list[str]]:
        """Class name -> the different titles of its training images."""
        found: dict[str, dict[str, None]] = {name: {} for name in self.suite.classes.classnames}
        for item, text in zip(self.train.items, self.titles, strict=True):
            found[self.suite.classes.classnames[item.label]].setdefault(text)
        return {name: list(own) for name, own in found.items()}

    @property
    def examples(self) -> Examples:
        """The training images, as objectives see them."""
        return Examples(tuple(item.path for item in self.train.items), self.train.labels, self.train.features)


@cache
def draw(name: str, seed: int) -> Draw:
    """The training images of a seed."""
    whole = suite(name)
    rows = whole.train.shots(SHOTS, seed)
    items = tuple(whole.train.items[row] for row in rows.tolist())
    drawn = Part(whole.train.dataset, items, whole.train.features[rows], whole.train.labels[rows])
    return Draw(whole, _validation(name), drawn)


@cache
def _validation(name: str) -> Part:
    dataset = suite(name).train.dataset
    return _as_part(dataset, dataset.split.val)


@cache
def pixels(part: Part) -> Tensor:
    """The preprocessed images (N, 3, H, W) of a part, decoded once."""
    return part.images()


@torch.no_grad()
def _as_part(dataset: FewShotDataset, items: Sequence[Item]) -> Part:
    images = images_of(dataset, items)
    features = torch.cat([backbone().encode_image(some) for some in images.split(IMAGES_PER_PASS)])
    return Part(dataset, items, features, torch.tensor([item.label for item in items]))


def learn(
    drawn: Draw,
    seed: int,
    objectives: Sequence[tuple[str, object]],
    optim: OptimConfig,
    method: str = "clip_adapter",
) -> AdaptedCLIP:
    """A method with its default options, trained on a draw."""
    torch.manual_seed(seed)
    made = create_method(method, backbone(), drawn.suite.classes)
    trainee = trained_by(made, objectives)
    x = drawn.train.features if made.consumes == "features" else pixels(drawn.train)
    batches = FeatureBatches(x[:, None], drawn.train.labels, ViewConfig("none"), optim.batch_size, True, seed)
    if isinstance(trainee, Trained):
        trainee.see_examples(drawn.examples)
        batches.with_places = True
    train(trainee, batches, optim)
    return made.eval()


@torch.no_grad()
def tuned_features(method: AdaptedCLIP, part: Part) -> Tensor:
    """Image features (N, D) of a part with what a method has learnt."""
    x = part.features if method.consumes == "features" else pixels(part)
    return torch.cat([method.image_features_of(some) for some in x.split(IMAGES_PER_PASS)])

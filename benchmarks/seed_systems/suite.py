"""The embedded suite as tensors: frozen features, images and labels of a data set, computed once per process."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from adaptkit import ClassSet, FrozenCLIP, load_backbone
from datasets_fewshot import FewShotDataset, Item, eval_transform, load_dataset
from datasets_fewshot.mini.suite import MINI_DATASETS

EMOJI = tuple(name for name in MINI_DATASETS if name.startswith("emoji_") and name != "emoji_subgroups")
ALL = tuple(MINI_DATASETS)
IMAGES_PER_PASS = 256


@dataclass(frozen=True)
class Part:
    """Images of one part of a data set as features (N, D) of the frozen tower, not normalised, and labels (N,)."""

    dataset: FewShotDataset
    items: Sequence[Item]
    features: Tensor
    labels: Tensor

    def images(self) -> Tensor:
        """The preprocessed images (N, 3, H, W)."""
        return images_of(self.dataset, self.items)

    def shots(self, count: int, seed: int) -> Tensor:
        """Places (C * count,) of `count` images of every class, drawn by seed; all of a class that has fewer."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.labels), generator=generator)
        chosen = [order[self.labels[order] == label][:count] for label in self.labels.unique()]
        return torch.cat(chosen)


@dataclass(frozen=True)
class Suite:
    """A data set of the suite with the features of its training and test images."""

    name: str
    classes: ClassSet
    train: Part
    test: Part


@cache
def backbone() -> FrozenCLIP:
    """The embedded model."""
    return load_backbone("adaptkit-mini")


@cache
def suite(name: str) -> Suite:
    """A data set by name, with the default template."""
    dataset = load_dataset(name)
    return Suite(
        name, ClassSet(dataset.classnames), _part(dataset, dataset.split.train), _part(dataset, dataset.split.test)
    )


@cache
def validation(name: str) -> Part:
    """The validation images of a data set that has some."""
    dataset = load_dataset(name)
    return _part(dataset, dataset.split.val)


@torch.no_grad()
def _part(dataset: FewShotDataset, items: Sequence[Item]) -> Part:
    passes = [items[start : start + IMAGES_PER_PASS] for start in range(0, len(items), IMAGES_PER_PASS)]
    features = torch.cat([backbone().encode_image(images_of(dataset, some)) for some in passes])
    return Part(dataset, items, features, torch.tensor([item.label for item in items]))


def images_of(dataset: FewShotDataset, items: Sequence[Item]) -> Tensor:
    """Preprocessed images (N, 3, H, W) of a data set's items."""
    cfg = backbone().preprocess_cfg
    transform = eval_transform(cfg.image_size[0], cfg.mean, cfg.std, cfg.interpolation, cfg.resize_mode)
    return torch.stack([transform(dataset.load(item)) for item in items])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in percent of logits (N, C)."""
    return 100 * float((logits.argmax(dim=-1) == labels).float().mean())

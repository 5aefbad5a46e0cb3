"""Images in, class names with probabilities out: what `method.predict` does."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.images import UNREADABLE, ImageLike, Images, batches, prepared, preprocess, read_image

__all__ = [
    "UNREADABLE",
    "Classifies",
    "ImageLike",
    "Images",
    "Prediction",
    "predict",
    "predictions",
    "prepared",
    "preprocess",
    "read_image",
]


class Classifies(Protocol):
    """The part of a method that prediction needs."""

    backbone: FrozenCLIP
    classes: ClassSet
    training: bool

    @property
    def device(self) -> torch.device: ...

    def __call__(self, images: Tensor) -> Tensor: ...

    def train(self, mode: bool = True) -> object: ...

    def eval(self) -> object: ...

    def encode_classes_once(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True)
class Prediction:
    """What a method says of one image: class names, the most probable first, with their probabilities."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]  # of all classes together they sum to 1

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.labels[0]

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return self.probabilities[0]


def predict(method: Classifies, images: Images, topk: int = 5, batch_size: int = 64) -> list[Prediction]:
    """Classify images, in order; the method is left in the mode it was in.

    Args:
        images: one image or several, of any kinds: paths, PIL images, uint8 arrays (H, W, 3), uint8 tensors (3, H, W),
            or preprocessed floats (3, H, W); arrays and tensors may be stacks. Types: `adaptkit.backbone.images`.
        topk: classes per image; all of them where there are fewer.
        batch_size: images that are in memory at the same time.

    Raises:
        ValueError: if a file cannot be read as an image, an array or tensor has a shape or a type that no image has, or
            the answers are not finite.
    """
    return list(predictions(method, batches(method, images, batch_size), topk))


@torch.no_grad()
def predictions(method: Classifies, given: Iterable[Tensor], topk: int) -> Iterator[Prediction]:
    """Classify batches of preprocessed images (B, 3, H, W), one after another as they come.

    Raises:
        ValueError: if `topk` is less than 1, or the method has no classes.
    """
    if topk < 1:
        raise ValueError(f"topk={topk}; expected at least 1 class per image")
    if not len(method.classes):
        raise ValueError("the method has no classes to tell apart; give it some with set_classes(classnames)")
    was_training = method.training
    method.eval()
    try:
        with method.encode_classes_once():
            for batch in given:
                yield from _ranked(method(batch.to(method.device)), method.classes.classnames, topk)
    finally:
        method.train(was_training)


def _ranked(logits: Tensor, names: Sequence[str], topk: int) -> Iterator[Prediction]:
    """Logits (B, C) -> one prediction per row; equal classes keep the order they were given in."""
    if not logits.isfinite().all():
        raise ValueError(
            "the method answers with numbers that are not finite, so there is nothing to rank; its learnt tensors or "
            "the backbone's weights are damaged, or its training diverged: load another copy, or train again"
        )
    probabilities = logits.double().softmax(dim=-1).cpu()
    values, places = probabilities.sort(dim=-1, descending=True, stable=True)
    for row, order in zip(values[:, :topk].tolist(), places[:, :topk].tolist(), strict=True):
        yield Prediction(tuple(names[place] for place in order), tuple(row))

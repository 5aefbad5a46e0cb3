"""Images in, class names with probabilities out: what `method.predict` does."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from adaptkit.contract.answers import Answering, Prediction, TakesNames, needs_neutral, neutral_class, ranked
from adaptkit.contract.images import UNREADABLE, ImageLike, Images, batches, prepared, preprocess, read_image

__all__ = [
    "UNREADABLE",
    "ImageLike",
    "Images",
    "Prediction",
    "predict",
    "predictions",
    "prepared",
    "preprocess",
    "read_image",
]

DEFAULT_ANSWERING = Answering()


class Classifies(TakesNames, Protocol):
    """The part of a method that prediction needs."""

    training: bool

    @property
    def device(self) -> torch.device: ...

    def consume(self, images: Tensor) -> Tensor: ...

    def logits_in_order(self, parts: Iterable[Tensor]) -> Iterator[Tensor]: ...

    def train(self, mode: bool = True) -> object: ...

    def eval(self) -> object: ...

    def encode_classes_once(self) -> AbstractContextManager[None]: ...


def predict(
    method: Classifies, images: Images, answering: Answering = DEFAULT_ANSWERING, batch_size: int = 64
) -> list[Prediction]:
    """Classify images, in order; the method is left in the mode it was in.

    Args:
        images: one image or several, of any kinds: paths, PIL images, uint8 arrays (H, W, 3), uint8 tensors (3, H, W),
            or preprocessed floats (3, H, W); arrays and tensors may be stacks. Types: `adaptkit.backbone.images`.
        batch_size: images that are in memory at the same time.

    Raises:
        ValueError: if a file cannot be read as an image, the tensor has another shape, or there is no such answer.
    """
    return list(predictions(method, batches(method, images, batch_size), answering))


@torch.no_grad()
def predictions(
    method: Classifies, given: Iterable[Tensor], answering: Answering = DEFAULT_ANSWERING
) -> Iterator[Prediction]:
    """Classify batches of preprocessed images (B, 3, H, W), or of views (B, V, 3, H, W), one after another.

    Raises:
        ValueError: if the method has no classes, or independent scores need an offset that is not given.
    """
    if not len(method.classes):
        raise ValueError(
            "the method has no classes to tell apart; give it some with set_classes(classnames), or with "
            "--classes on the command line"
        )
    names, neutral, was_training = method.classes.classnames, needs_neutral(method, answering), method.training
    method.eval()
    try:
        with neutral_class(method) if neutral else nullcontext(), method.encode_classes_once():
            for logits in method.logits_in_order(method.consume(batch.to(method.device)) for batch in given):
                yield from ranked(logits, names, answering, neutral, method.label_thresholds)
    finally:
        method.train(was_training)

"""Head: what stands behind the towers and answers something else than which of the given classes an image shows.

A head gives a grade, a vector, or a name that nobody has listed. It is made from a backbone and its options, and is
saved and loaded as methods are; it has no classes.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from adaptkit.artefacts.atomic_file import Json
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import NO_CLASSES
from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.images import Images, batches

Answer = Mapping[str, Json]  # what a head says of one image, ready to be written as JSON


class Head(AdaptedTowers, is_contract=True):
    """Adapted towers with an answer of their own kind.

    A head writes `consumes`, `outputs` and `described`, and `loss` if it learns.
    """

    is_head: ClassVar[bool] = True

    def __init__(self, backbone: FrozenCLIP):
        super().__init__(backbone)
        self.classes = NO_CLASSES

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), preprocessed or uint8 -> outputs (B, ...)."""
        return self.outputs(self.consume(images))

    @abstractmethod
    def outputs(self, x: Tensor) -> Tensor:
        """Input of the kind that the head consumes -> what it computes, (B, ...); its class says what that is."""

    @abstractmethod
    def described(self, outputs: Tensor) -> list[Answer]:
        """Outputs (B, ...) -> what they mean, for people and for JSON: one answer an image."""

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """Input of the kind that the head consumes, targets (B, ...) -> scalar.

        Raises:
            TypeError: if the head learns nothing.
        """
        raise TypeError(f"{type(self).__name__} learns nothing, so it has no loss")

    @torch.no_grad()
    def answers(self, images: Images, batch_size: int = 64) -> list[Answer]:
        """What the head says of paths, PIL images, arrays, tensors, or one of these, in order.

        Raises:
            ValueError: if a file cannot be read as an image, or a tensor has another shape.
        """
        was_training = self.training
        self.eval()
        try:
            given = batches(self, images, batch_size)
            return [answer for batch in given for answer in self.described(self(batch.to(self.device)))]
        finally:
            self.train(was_training)

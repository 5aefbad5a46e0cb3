"""PairObjective: what a training on image-text pairs minimises, in two halves, so that large batches fit.

The first half encodes the two sides of a batch, the second is a loss between the features of all its pairs. A trainer
may encode a batch piece by piece and call the second half once for all of it.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import Batch, LabelledBatch, PairBatch
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.objective import Objective
from adaptkit.contract.wrapper import MethodWrapper


class PairObjective(Objective):
    """An objective of image-text pairs; a subclass writes `between`."""

    takes: ClassVar[type[LabelledBatch] | type[PairBatch]] = PairBatch

    @abstractmethod
    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        """The loss of a whole batch from its features: a scalar.

        Args:
            images: features (B, D), not normalised.
            texts: features (B, D), pair by pair, not normalised.
            groups: (B,) int64; pairs of one group are no negatives of each other.
        """

    def loss(self, method: AdaptedTowers, batch: Batch) -> Tensor:
        assert isinstance(batch, PairBatch)
        images, texts = image_features(method, batch.images), text_features(method, batch.texts)
        return self.between(images, texts, batch.groups)


def image_features(method: AdaptedTowers, images: Tensor) -> Tensor:
    """Images (B, 3, H, W) -> features (B, D), not normalised; features (B, D) of a frozen tower stay as they are."""
    return images if images.ndim == 2 else method.encode_image(images)


def text_features(method: AdaptedTowers, texts: Sequence[str] | Tensor) -> Tensor:
    """N texts -> features (N, D), not normalised; features (N, D) of a frozen tower stay as they are.

    A method that changes no text has the features of the frozen tower.
    """
    if isinstance(texts, Tensor):
        return texts
    if "encode_text" in method.provides:
        return method.encode_text(texts)
    return method.backbone.encode_text(texts)


@torch.enable_grad()
def learning_sides(method: AdaptedTowers) -> tuple[bool, bool]:
    """Whether a training changes the features of images, and those of texts; found by encoding one of each."""
    height, width = method.backbone.preprocess_cfg.image_size
    images = torch.zeros(1, 3, height, width, device=method.device)
    return image_features(method, images).requires_grad, text_features(method, ["a"]).requires_grad


@torch.no_grad()
def room_for_text(method: AdaptedTowers) -> int:
    """How many tokens of its own a text may have; learnt prompts around it take some of the context.

    Raises:
        ValueError: if not even one token fits beside what the method puts around every text.
    """
    tokenizer = method.backbone.tokenizer
    for count in range(tokenizer.context_length - tokenizer.n_special, 0, -1):
        try:
            text_features(method, [" ".join(["a"] * count)])
        except ValueError:
            continue
        return count
    raise ValueError(
        f"the prompts of {type(method).__name__} fill the whole context of {tokenizer.context_length} tokens, so no "
        "text fits beside them; lower n_ctx"
    )


class TrainedOnPairs(MethodWrapper):
    """A method while an objective of pairs trains it, so that both are stepped, checked and written down together.

    `training_state` has the learnt tensors of the objective, too; `learnt_state` is the method's alone.
    """

    def __init__(self, method: AdaptedCLIP, objective: PairObjective):
        super().__init__(method.backbone, method)
        self.objective = objective
        self.spec = method.spec

    def learnt_state(self) -> dict[str, Tensor]:
        return self.inner.learnt_state()

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self.inner.load_learnt_state(state)

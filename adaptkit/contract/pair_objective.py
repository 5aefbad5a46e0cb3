"""PairObjective: what a training on image-text pairs minimises, in two halves, so that large batches fit.

The first half encodes the two sides of a batch, the second is a loss between the rows of all its pairs. A trainer may
encode a batch piece by piece and call the second half once for all of it.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import Batch, LabelledBatch, PairBatch, PairText
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.objective import Objective
from adaptkit.contract.wrapper import MethodWrapper


class PairObjective(Objective):
    """An objective of image-text pairs; a subclass writes `between`.

    One that needs more of a pair than its two features writes the sides, too: `image_side` may give patches, with
    `image_input` for methods behind the towers, or the features of an earlier model; `texts_of` may write more texts
    for each pair. The rows of the sides depend on the method's learnt tensors and on their own pair; what the objective
    itself learns takes part in `between` alone.
    """

    takes: ClassVar[type[LabelledBatch] | type[PairBatch]] = PairBatch
    writes_texts: bool = False  # whether `texts_of` writes more than the caption

    @abstractmethod
    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        """The loss of a whole batch from its features: a scalar.

        Args:
            images: features (B, D), not normalised, or other rows (B, ...) that `image_side` gives.
            texts: features (B, D), pair by pair, not normalised; (B, n, D) of an objective that writes texts, with
                zeros for a text that is missing.
            groups: (B,) int64; pairs of one group are no negatives of each other.
        """

    def image_input(self, method: AdaptedTowers, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> what can be encoded once (B, ...) for a method that consumes frozen features."""
        return method.consume(images)

    def image_side(self, method: AdaptedTowers, images: Tensor) -> Tensor:
        """What the loss needs of images: (B, ...) from images (B, 3, H, W), or from what `image_input` gave of them.

        Other rows are of a side that does not learn, and were made here before; they stay as they are.
        """
        return image_features(method, images)

    def text_side(self, method: AdaptedTowers, texts: Sequence[PairText] | Tensor) -> Tensor:
        """What the loss needs of texts: (B, ...) from B texts, or from features of the frozen text tower."""
        return text_features(method, texts)

    def texts_of(
        self, captions: Sequence[str], drawn: int, fit: Callable[[str], str], seed: int
    ) -> Sequence[str | None]:
        """The n texts of a pair: n is the same for every pair, and None stands for one that is missing.

        Args:
            captions: all captions of the image, as they were written.
            drawn: the place of the caption that belongs to the pair in this epoch.
            fit: cuts a text to what the text tower has room for.
            seed: of this pair in this epoch; the same seed has the same texts.
        """
        return (fit(captions[drawn]),)

    def regularizer(self, method: AdaptedTowers) -> Tensor | None:
        """What the loss holds against the method's learnt tensors themselves: a scalar, or None for nothing."""
        return None

    def loss(self, method: AdaptedTowers, batch: Batch) -> Tensor:
        assert isinstance(batch, PairBatch)
        loss = self.between(self.image_side(method, batch.images), self.text_side(method, batch.texts), batch.groups)
        added = self.regularizer(method)
        return loss if added is None else loss + added


def image_features(method: AdaptedTowers, images: Tensor) -> Tensor:
    """Image features (B, D) with what was learnt, not normalised.

    Args:
        images: (B, 3, H, W); or (B, D), features of the frozen tower for a method that consumes them, and for any other
            the features that it has, which stay as they are.
    """
    if images.ndim == 2:
        return method.image_features_of(images) if method.consumes == "features" else images
    return method.encode_image(images)


def text_features(method: AdaptedTowers, texts: Sequence[PairText] | Tensor) -> Tensor:
    """Text features (N, D) with what was learnt, not normalised; (N, n, D) of n texts for each pair.

    A missing text has zeros. A method that changes no text has the features of the frozen tower.

    Args:
        texts: N texts or tuples of n texts; or features (N, D), (N, n, D) of the frozen tower for a method that
            learns behind it, and for any other the features that it has, which stay as they are.
    """
    if isinstance(texts, Tensor):
        if "text_features_of" not in method.provides:
            return texts
        return method.text_features_of(texts) if texts.ndim == 2 else _scattered(method, texts)
    if not texts or isinstance(texts[0], str):
        return _encoded(method, cast(Sequence[str], texts))
    there = torch.tensor([[text is not None for text in own] for own in texts], device=method.device)
    features = _encoded(method, [text for own in texts for text in own if text is not None])
    return _placed(features, there)


def text_is_there(features: Tensor) -> Tensor:
    """Which of the texts behind features (..., D) are there: (...) bool; a missing text has zeros."""
    return features.ne(0).any(dim=-1)


def _encoded(method: AdaptedTowers, texts: Sequence[str]) -> Tensor:
    adapted = "encode_text" in method.provides
    return method.encode_text(texts) if adapted else method.backbone.encode_text(texts)


def _scattered(method: AdaptedTowers, frozen: Tensor) -> Tensor:
    there = text_is_there(frozen)
    return _placed(method.text_features_of(frozen[there]), there)


def _placed(features: Tensor, there: Tensor) -> Tensor:
    """Features (M, D) at the M places that are there (N, n), zeros elsewhere: (N, n, D)."""
    rows = features.new_zeros(*there.shape, features.shape[-1])
    return rows.masked_scatter(there[..., None], features)


@torch.enable_grad()
def learning_sides(method: AdaptedTowers, objective: PairObjective | None = None) -> tuple[bool, bool]:
    """Whether a training changes what is made of images, and of texts; found by encoding one of each.

    Args:
        objective: asks for its sides; None asks for the features.

    Raises:
        ValueError: if it is to be trained and needs whole batches, of which a training on pairs encodes pieces.
    """
    if method.training and method.needs_whole_batches:
        raise ValueError(
            f"{type(method).__name__} normalises over whole batches, of which a training on pairs encodes pieces; take "
            "vpt, maple or another method that sees every image alone"
        )
    height, width = method.backbone.preprocess_cfg.image_size
    images = torch.zeros(1, 3, height, width, device=method.device)
    image_side = image_features if objective is None else objective.image_side
    text_side = text_features if objective is None else objective.text_side
    return image_side(method, images).requires_grad, text_side(method, ["a"]).requires_grad


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

    def after_epoch(self, epoch: int) -> None:
        super().after_epoch(epoch)
        self.objective.after_epoch(epoch)

    def learnt_state(self) -> dict[str, Tensor]:
        return self.inner.learnt_state()

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self.inner.load_learnt_state(state)

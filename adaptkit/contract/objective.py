"""Objective: what a training minimises, apart from the method that is trained.

Objectives compose like wrappers: each stands around an inner one, and the innermost is the method's own loss, the
cross-entropy of its logits with its regularizer. An objective may learn something itself, such as a generator of
features; that is trained beside the method and never saved with it.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import Batch, Examples, LabelledBatch, PairBatch
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.wrapper import MethodWrapper


class Objective(nn.Module, ABC):
    """What a training minimises over batches of one kind.

    An objective is constructed from the method that it is to train, the inner objective, which is None for the
    innermost, and its options. It does not hold the method: `loss` is given it in every step.

    Args:
        method: the method, as it stands before training.
        inner: the objective around which this one stands.
    """

    takes: ClassVar[type[LabelledBatch] | type[PairBatch]] = LabelledBatch  # the kind of batch that `loss` is given
    asks_for_examples: ClassVar[bool] = False  # whether it reads `see_examples`, and the `places` of a batch
    asks_for_new_names: bool = False  # whether it also reads `Examples.new_names`, class names of the tests
    rests: bool = False  # whether in some steps some learnt tensors have no gradient

    def __init__(self, method: AdaptedTowers, inner: "Objective | None" = None):
        super().__init__()
        self.inner = inner

    @abstractmethod
    def loss(self, method: AdaptedTowers, batch: Batch) -> Tensor:
        """The loss of a method on one batch: a scalar."""

    def see_examples(self, method: AdaptedTowers, examples: Examples) -> None:
        """Called once before the first step, where this objective or one inside it asks for examples.

        Args:
            method: the method that is to be trained.
        """
        if self.inner is not None:
            self.inner.see_examples(method, examples)

    @property
    def wants_examples(self) -> bool:
        """Whether this objective or one inside it asks for examples."""
        return self.asks_for_examples or (self.inner is not None and self.inner.wants_examples)

    @property
    def wants_new_names(self) -> bool:
        """Whether this objective or one inside it asks for class names of the tests."""
        return self.asks_for_new_names or (self.inner is not None and self.inner.wants_new_names)

    @property
    def leaves_idle(self) -> bool:
        """Whether this objective or one inside it leaves learnt tensors without a gradient in some steps."""
        return self.rests or (self.inner is not None and self.inner.leaves_idle)

    @classmethod
    def facts(cls, config: object) -> tuple[str, ...]:
        """What a training with these options sees beside its images and class names: for readers of its numbers."""
        return ()

    def begin_training(self, step_count: int) -> None:
        """Called before the first of so many steps, and before a checkpoint is read."""
        if self.inner is not None:
            self.inner.begin_training(step_count)

    def before_step(self, step: int) -> None:
        """Called before step `step`, counted from 0."""
        if self.inner is not None:
            self.inner.before_step(step)

    def after_epoch(self, epoch: int) -> None:
        """Called when epoch `epoch`, counted from 0, is over."""
        if self.inner is not None:
            self.inner.after_epoch(epoch)


class Trained(MethodWrapper):
    """A method while an objective trains it: its loss is the objective's, everything else is the method's.

    The learnt tensors of the objective are trained with the method's and are part of `training_state`, so a training
    that is interrupted goes on with them; `learnt_state` is the method's alone.

    Raises:
        ValueError: if the objective takes another kind of batch, or the method finds its gradients in its own way or
            reads no labels.
    """

    def __init__(self, method: AdaptedCLIP, objective: Objective):
        if objective.takes is not LabelledBatch:
            raise ValueError(
                f"{type(objective).__name__} is trained on {objective.takes.__name__}, and classes give LabelledBatch; "
                "train it on image-text pairs"
            )
        if "backward" in method.provides:
            raise ValueError(
                f"{type(method).__name__} finds its gradients in its own way, so {type(objective).__name__} cannot "
                "train it; leave the objective out, or take another method"
            )
        if not method.learns_from_labels:
            raise ValueError(
                f"{type(method.innermost).__name__} learns without labels, from a loss of its own, so "
                f"{type(objective).__name__} cannot train it; leave the objective out, or take another method"
            )
        super().__init__(method.backbone, method)
        self.objective = objective
        self.spec = method.spec

    def see_examples(self, examples: Examples) -> None:
        """Hand all training images to the objectives, before the first step."""
        self.objective.see_examples(self.inner, examples)

    def loss(self, x: Tensor, labels: Tensor, places: Tensor | None = None) -> Tensor:
        """The objectives' loss; `places` (B,) int64 says which of the examples the rows are."""
        return self.objective.loss(self.inner, LabelledBatch(x, labels, places))

    def begin_training(self, step_count: int) -> tuple[int, ...]:
        self.objective.begin_training(step_count)
        return super().begin_training(step_count)

    def before_step(self, step: int) -> None:
        super().before_step(step)
        self.objective.before_step(step)

    def after_epoch(self, epoch: int) -> None:
        super().after_epoch(epoch)
        self.objective.after_epoch(epoch)

    def learnt_state(self) -> dict[str, Tensor]:
        return self.inner.learnt_state()

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self.inner.load_learnt_state(state)

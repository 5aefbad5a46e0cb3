"""Cross-entropy: the method's own loss, which is the objective of every paper whose released code trains on labels.

    L = CE(softmax(logits(x)), y) + R
with the regularizer R of a method that has one: KgCoOp's distance from the hand-written text features,
PromptSRC's three agreements, CLAP's penalty (see https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html
for the first term).
"""

from dataclasses import dataclass

from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.batches import Batch, LabelledBatch
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.objective import Objective
from adaptkit.contract.registry import register_objective


@dataclass(frozen=True)
class CrossEntropyConfig:
    """Cross-entropy has no options: its regularizers belong to the methods."""


@register_objective("cross_entropy", CrossEntropyConfig)
class CrossEntropy(Objective):
    """The loss that the method itself defines on labelled examples."""

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: CrossEntropyConfig):
        super().__init__(method, inner)

    def loss(self, method: AdaptedTowers, batch: Batch) -> Tensor:
        assert isinstance(method, AdaptedCLIP)
        assert isinstance(batch, LabelledBatch)
        return method.loss(batch.x, batch.labels)

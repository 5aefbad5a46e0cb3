"""Push: label smoothing as an objective, to show what an objective of another distribution looks like.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567:
    L = (1 - s) CE(logits, y) + s mean_c CE(logits, c)
"""

from dataclasses import dataclass

from torch import Tensor

from adaptkit import LabelledBatch, Objective, register_objective


@dataclass(frozen=True)
class PushConfig:
    share: float = 0.1  # s, of all classes together


@register_objective("push", PushConfig)
class Push(Objective):
    """The inner objective's loss, with a share of it spread over all classes."""

    def __init__(self, method, inner, config: PushConfig):
        super().__init__(method, inner)
        self.share = config.share

    def loss(self, method, batch: LabelledBatch) -> Tensor:
        spread = -method.logits(batch.x).log_softmax(dim=-1).mean()
        return (1 - self.share) * self.inner.loss(method, batch) + self.share * spread

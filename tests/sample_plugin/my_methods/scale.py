"""Scale: a learnt factor on the logits of any method. It has no YAML, so nothing differs from the defaults."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit import FrozenCLIP, MethodWrapper, register_wrapper
from adaptkit.contract.wrapper import MakeInner


@dataclass(frozen=True)
class ScaleConfig:
    start: float = 1.0  # of the factor


@register_wrapper("scale", ScaleConfig)
class Scale(MethodWrapper):
    """The inner method's logits (B, C) times a learnt factor."""

    withholds = frozenset({"class_weights"})

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: ScaleConfig):
        super().__init__(backbone, make_inner(backbone))
        self.factor = nn.Parameter(torch.tensor(config.start))

    def logits(self, x: Tensor) -> Tensor:
        """Input of the kind that the inner method consumes -> logits (B, C)."""
        return self.factor * super().logits(x)

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(x), labels)

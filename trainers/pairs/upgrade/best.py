"""The best epoch of a training so far, kept as buffers, so that checkpoints hold it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class BestEpoch(nn.Module):
    """Copies of learnt tensors at the epoch with the highest score; of equal ones, the first.

    Args:
        start: the tensors before the training.
        score: of these.
    """

    score: Tensor
    epoch: Tensor

    def __init__(self, start: Mapping[str, Tensor], score: float):
        super().__init__()
        self.names = tuple(start)
        for place, tensor in enumerate(start.values()):
            self.register_buffer(f"kept_{place}", tensor.detach().clone())
        self.register_buffer("score", torch.tensor(score, dtype=torch.float64))
        self.register_buffer("epoch", torch.tensor(0))

    def see(self, epoch: int, score: float, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors if their score is higher than any before."""
        if score <= float(self.score):
            return
        for place, name in enumerate(self.names):
            getattr(self, f"kept_{place}").copy_(tensors[name].detach())
        self.score.fill_(score)
        self.epoch.fill_(epoch)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the best epoch."""
        return {name: getattr(self, f"kept_{place}") for place, name in enumerate(self.names)}

"""The mean of learnt tensors over the epochs, each epoch weighted by a Gaussian (Khattak et al., arXiv:2307.06948)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def gaussian_weights(epochs: Sequence[int], mean: float, std: float) -> Tensor:
    """Gaussian weights N(e; mean, std^2) of epochs e, scaled to the sum 1, in fp64."""
    distance = (torch.tensor(epochs, dtype=torch.float64) - mean) / std
    return torch.softmax(-(distance**2) / 2, dim=0)  # Weights far from the mean underflow; their logs do not.


class EpochAverage(nn.Module):
    """A weighted mean of learnt tensors over epochs, which can change places with those tensors.

    Args:
        learnt: the tensors; every call passes them again, in this order.
        mean: the epoch with the largest weight, counted from 1.
        std: standard deviation of the weights, in epochs.
    """

    n_epochs: Tensor

    def __init__(self, learnt: Sequence[Tensor], mean: float, std: float):
        super().__init__()
        self.mean, self.std = mean, std
        self.register_buffer("n_epochs", torch.zeros((), dtype=torch.int64))
        for index, tensor in enumerate(learnt):
            self.register_buffer(f"kept_{index}", torch.zeros_like(tensor))

    def _kept(self) -> list[Tensor]:
        return [buffer for name, buffer in self.named_buffers() if name.startswith("kept_")]

    @torch.no_grad()
    def add(self, learnt: Sequence[Tensor], epoch: int) -> None:
        """Add the tensors after epoch `epoch`, counted from 0, to the mean."""
        # The epochs in the mean and this one, counted from 1.
        seen = range(epoch + 1 - int(self.n_epochs), epoch + 2)
        share = float(gaussian_weights(seen, self.mean, self.std)[-1])
        for kept, tensor in zip(self._kept(), learnt, strict=True):
            kept.lerp_(tensor, share)
        self.n_epochs += 1

    @torch.no_grad()
    def swap(self, learnt: Sequence[Tensor]) -> None:
        """Exchange the mean and the tensors; a second call puts both back. Before the first epoch there is no mean."""
        if self.n_epochs == 0:
            return
        for kept, tensor in zip(self._kept(), learnt, strict=True):
            value = tensor.clone()
            tensor.copy_(kept)
            kept.copy_(value)

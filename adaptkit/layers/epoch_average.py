"""The mean of learnt tensors over the epochs, each epoch weighted by a Gaussian (Khattak et al., arXiv:2307.06948)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def gaussian_weights(epochs: Sequence[int], mean: float, std: float) -> Tensor:
    """N(e; mean, std^2) of epochs e, scaled to the sum 1: one weight each, in fp64."""
    distance = (torch.tensor(epochs, dtype=torch.float64) - mean) / std
    return torch.softmax(-(distance**2) / 2, dim=0)  # far from the mean the weights underflow; their logs do not


class EpochAverage(nn.Module):
    """A mean over epochs that can change places with the learnt tensors it is the mean of.

    Args:
        learnt: the tensors; every call brings them again, in this order.
        mean: the epoch, counted from 1, that counts most.
        std: in epochs.
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
        """Let the tensors as they are after epoch `epoch`, counted from 0, into the mean."""
        seen = range(epoch + 1 - int(self.n_epochs), epoch + 2)  # the epochs in the mean and this one, counted from 1
        share = float(gaussian_weights(seen, self.mean, self.std)[-1])
        for kept, tensor in zip(self._kept(), learnt, strict=True):
            kept.lerp_(tensor, share)
        self.n_epochs += 1

    @torch.no_grad()
    def swap(self, learnt: Sequence[Tensor]) -> None:
        """Exchange the mean for the tensors; once more puts both back. Before the first epoch there is no mean."""
        if self.n_epochs == 0:
            return
        for kept, tensor in zip(self._kept(), learnt, strict=True):
            value = tensor.clone()
            tensor.copy_(kept)
            kept.copy_(value)

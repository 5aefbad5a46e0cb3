"""OGEN's teacher: a moving average of the student at the ends of its last epochs, over a window that grows.

m_t     = floor(1/2 (m_max - m_min) (1 + cos(pi (1 + t / T)))) + m_min        epochs, at epoch t of T
teacher = the average of the last m_t ends, from the oldest on:  mean <- decay mean + (1 - decay) end
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from adaptkit.objectives.ogen.generator import Generator


def window_length(progress: float, least: int, most: int) -> int:
    """m_t, the number of epoch ends that the teacher is made of.

    Args:
        progress: t / T, from 0 to 1.
    """
    return math.floor((most - least) * (1 + math.cos(math.pi * (1 + progress))) / 2) + least


def average_of_ends(ends: Sequence[Tensor], decay: float) -> Tensor:
    """The moving average of ends of epochs, the oldest first and all of one shape."""
    mean = ends[0].clone()
    for end in ends[1:]:
        mean.lerp_(end, 1 - decay)
    return mean


@contextmanager
def replaced(tensors: Sequence[nn.Parameter], flat: Tensor) -> Iterator[None]:
    """Inside the block, which has no gradients, parameters have the values of a vector that holds all of them."""
    own = [tensor.data for tensor in tensors]
    parts = flat.split([tensor.numel() for tensor in tensors])
    try:
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.data = part.view_as(tensor).to(tensor.dtype)
            yield
    finally:
        for tensor, before in zip(tensors, own, strict=True):
            tensor.data = before


class Teacher(nn.Module):
    """The last ends of epochs, and the student's average over them.

    The ends are buffers, so that a training that is interrupted goes on with them: `most` times all learnt tensors.

    Args:
        learnt: the method's learnt tensors, which every call passes again in this order.
        generator: the student's.
        least, most: the window in epochs, at the start and at the end of a training.
        decay: share of the average that an end leaves.
    """

    ends: Tensor
    n_ends: Tensor

    def __init__(
        self, learnt: Sequence[nn.Parameter], generator: Generator, least: int = 2, most: int = 9, decay: float = 0.9
    ):
        super().__init__()
        self.least, self.most, self.decay = least, most, decay
        self.generator = copy.deepcopy(generator).requires_grad_(False)
        self.n_learnt = sum(tensor.numel() for tensor in learnt)
        tensors = _flat([*learnt, *generator.parameters()])
        self.register_buffer("ends", torch.zeros(most, len(tensors), dtype=tensors.dtype, device=tensors.device))
        self.register_buffer("n_ends", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def remember(self, learnt: Sequence[nn.Parameter], generator: Generator) -> None:
        """Keep what the student is at the end of an epoch, and forget the oldest end where there are `most`."""
        self.ends.copy_(torch.cat([self.ends[1:], _flat([*learnt, *generator.parameters()])[None]]))
        self.n_ends += 1

    @torch.no_grad()
    def average(self, progress: float) -> Tensor | None:
        """Average the ends and give the teacher's generator its part; None before the first end.

        Returns:
            The method's part of the average, flat.
        """
        length = min(int(self.n_ends), window_length(progress, self.least, self.most))
        if not length:
            return None
        mean = average_of_ends(list(self.ends[-length:]), self.decay)
        nn.utils.vector_to_parameters(mean[self.n_learnt :], self.generator.parameters())
        self.generator.eval()
        return mean[: self.n_learnt]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])

"""Replicas: R methods made alike, whose learnt tensors lie side by side, so that one step serves all of them.

A single step of a small method is mostly calls: the products of R replicas side by side cost hardly more than those of
one. What is frozen, such as features of fixed texts, is shared; what differs from one to the next has a leading axis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Replicas:
    """Tensors of R replicas by the names that they have in one method, each (R, ...)."""

    learnt: Mapping[str, Tensor]  # leaves, which take the gradients
    own: Mapping[str, Tensor] = field(default_factory=dict)  # buffers that differ, such as those of a support set

    def __len__(self) -> int:
        return len(next(iter(self.learnt.values())))

    def part(self, rows: slice) -> "Replicas":
        """Some of the replicas; their gradients reach the leaves of all."""
        return Replicas(
            {name: tensor[rows] for name, tensor in self.learnt.items()},
            {name: tensor[rows] for name, tensor in self.own.items()},
        )

    def tensors(self) -> dict[str, Tensor]:
        """Learnt and own tensors by name."""
        return {**self.learnt, **self.own}


def side_by_side(methods: Sequence[nn.Module]) -> Replicas:
    """Copies of what R methods learn, and of the buffers outside their backbone in which they differ.

    Raises:
        ValueError: if a tensor has not one shape in all of them.
    """
    parameters = [dict(method.named_parameters()) for method in methods]
    learnt = [name for name, parameter in parameters[0].items() if parameter.requires_grad]
    buffers = [_buffers(method) for method in methods]
    differing = [name for name, first in buffers[0].items() if not all(_same(first, own[name]) for own in buffers)]
    return Replicas(
        {name: _stacked(name, [own[name] for own in parameters]).requires_grad_() for name in learnt},
        {name: _stacked(name, [own[name] for own in buffers]) for name in differing},
    )


def hand_back(replicas: Replicas, methods: Sequence[nn.Module]) -> None:
    """Copy what the replicas have learnt into the methods that they were made of, in place."""
    with torch.no_grad():
        for row, method in enumerate(methods):
            parameters = dict(method.named_parameters())
            for name, tensor in replicas.learnt.items():
                parameters[name].copy_(tensor[row])


def _buffers(method: nn.Module) -> dict[str, Tensor]:
    return {name: buffer for name, buffer in method.named_buffers() if "backbone" not in name.split(".")}


def _same(first: Tensor, other: Tensor) -> bool:
    return first is other or (first.shape == other.shape and torch.equal(first, other))


def _stacked(name: str, tensors: Sequence[Tensor]) -> Tensor:
    shapes = sorted({tuple(tensor.shape) for tensor in tensors})
    if len(shapes) > 1:
        raise ValueError(
            f"{name} has the shapes {shapes} in methods that are to be trained together; take draws with as many "
            "images each, or train them one by one"
        )
    return torch.stack([tensor.detach() for tensor in tensors])

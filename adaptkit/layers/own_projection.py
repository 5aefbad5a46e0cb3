"""The last matrix of an image tower, which projects into the joint space, as one that learns."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from adaptkit.layers.tuned_parts import own_copy

Self = TypeVar("Self", bound="OwnProjection")


class OwnProjection(nn.Module):
    """A projection with a matrix that learns, from where the backbone's stands.

    Args:
        frozen: the backbone's: a matrix (D_p, D), or a module with one, whose bias stays frozen.
        name: the matrix's name in the module; empty for the only one.

    Raises:
        ValueError: if the module has several matrices, or none.
    """

    def __init__(self, frozen: Tensor | nn.Module, name: str = ""):
        super().__init__()
        self.module = frozen if isinstance(frozen, nn.Module) else None
        self.name = name
        if isinstance(frozen, nn.Module):
            self.name = name or _only_matrix(frozen)
            self.weight = own_copy(frozen.get_parameter(self.name))
        else:
            self.weight = own_copy(frozen)

    def forward(self, x: Tensor) -> Tensor:
        """Rows (..., D_p), or what the module takes -> features (..., D), not normalised."""
        if self.module is None:
            return x @ self.weight.to(x.dtype)
        weight = self.weight.to(self.module.get_parameter(self.name).dtype)
        out: Tensor = torch.func.functional_call(self.module, {self.name: weight}, (x,))
        return out

    def train(self: Self, mode: bool = True) -> Self:
        """Enter a mode; the backbone's module stays in eval mode, so that its batch norms never move."""
        super().train(mode)
        if self.module is not None:
            self.module.eval()
        return self

    def distance_from(self, frozen: Tensor) -> Tensor:
        """The sum of squared differences from the backbone's matrix: a scalar."""
        return (self.weight - frozen.to(self.weight)).square().sum()


def _only_matrix(module: nn.Module) -> str:
    names = [name for name, weight in module.named_parameters() if weight.ndim == 2]
    if len(names) != 1:
        raise ValueError(f"a projection of {len(names)} matrices; expected one")
    return names[0]

"""Where learnt weights started: for the line between a backbone's weights and those that were learnt."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class HasStart(Protocol):
    """A layer that knows the values of its learnt tensors at which it is the backbone's own."""

    def start_values(self) -> dict[str, Tensor]: ...


def start_of(method: nn.Module, *parts: str) -> dict[str, Tensor]:
    """Learnt tensor -> its value at the start, of all layers below some parts of a method.

    Args:
        parts: names of the method's children.
    """
    return {
        f"{path}.{name}": tensor
        for part in parts
        for path, layer in method.get_submodule(part).named_modules(prefix=part)
        if isinstance(layer, HasStart)
        for name, tensor in layer.start_values().items()
    }

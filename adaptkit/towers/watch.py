"""Weights that change: towers take their tensors from the modules again, and products of weights are made anew.

Loading with `assign=True` and moving to another kind of device put new tensors into the modules; moving to another type
gives the same tensors other memory; an edit in place raises a tensor's version. All of it shows in identity, memory and
version, which are compared here. An edit through `.data` shows in none of them.
"""

import dataclasses
from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

_version = attrgetter("_version")


@dataclasses.dataclass(frozen=True)
class Home:
    """Where a field of a tower has a tensor from."""

    field: str
    index: int | None  # Number in the field's tuple; None for a field that is the tensor.
    module: nn.Module
    name: str

    def tensor(self) -> Tensor | None:
        found = self.module._parameters.get(self.name)
        return self.module._buffers.get(self.name) if found is None else found


class _Tower(Protocol):
    @property
    def homes(self) -> tuple[Home, ...]: ...


Tower = TypeVar("Tower", bound=_Tower)


def with_homes(tower: Tower, root: nn.Module) -> Tower:
    """The tower, knowing which modules below `root` its tensors come from."""
    places = {
        id(tensor): (module, name)
        for module in root.modules()
        for name, tensor in chain(module._parameters.items(), module._buffers.items())
        if tensor is not None
    }
    homes = []
    for field in dataclasses.fields(tower):  # type: ignore[arg-type]
        value = getattr(tower, field.name)
        parts = enumerate(value) if isinstance(value, tuple) else ((None, value),)
        for index, part in parts:
            if isinstance(part, Tensor) and id(part) in places:
                homes.append(Home(field.name, index, *places[id(part)]))
    return dataclasses.replace(tower, homes=tuple(homes))  # type: ignore[type-var]


def current(tower: Tower) -> Tower:
    """The tower with the tensors that its modules have now: the same one if they are its own."""
    if torch.compiler.is_compiling():
        return tower
    changed: dict[str, object] = {}
    for home in tower.homes:
        value, tensor = changed.get(home.field, getattr(tower, home.field)), home.tensor()
        if home.index is None:
            if value is not tensor:
                changed[home.field] = tensor
        elif value[home.index] is not tensor:
            changed[home.field] = (*value[: home.index], tensor, *value[home.index + 1 :])
    return dataclasses.replace(tower, **changed) if changed else tower  # type: ignore[type-var]


class Watch:
    """Tells whether frozen weights are others than when it was last asked.

    Args:
        modules: modules whose frozen parameters are watched, and those of all modules below them.
        alone: modules whose own frozen parameters are watched.
    """

    def __init__(self, modules: Iterable[nn.Module], alone: Iterable[nn.Module] = ()):
        parts = {id(part): part for module in modules for part in module.modules()} | {id(part): part for part in alone}
        self._holders = [part._parameters for part in parts.values() if part._parameters]
        self._look()

    def _look(self) -> None:
        held = chain.from_iterable(holder.values() for holder in self._holders)
        self._weights = [weight for weight in held if weight is not None and not weight.requires_grad]
        self._versioned = [weight for weight in self._weights if not weight.is_inference()]
        self._seen = self.state()

    def state(self) -> tuple[object, ...]:
        """What tells these weights from others: identities, versions and places in memory."""
        ids = list(map(id, chain.from_iterable(map(dict.values, self._holders))))
        return ids, sum(map(_version, self._versioned)), list(map(Tensor.data_ptr, self._weights))

    def changed(self) -> bool:
        """Whether a weight is another tensor, lies elsewhere or was written to since the last call."""
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return False
        if self.state() == self._seen:
            return False
        self._look()
        return True


class Kept(nn.Module):
    """A tensor made of frozen weights, made again when they have changed.

    Args:
        make: makes the tensor.
        watch: of the weights that it is made of; None for a tensor that is never made again.
    """

    value: Tensor

    def __init__(self, make: Callable[[], Tensor], watch: Watch | None):
        super().__init__()
        self.make, self.watch = make, watch
        self.register_buffer("value", self._made(), persistent=False)

    def _made(self) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return self.make()

    def forward(self) -> Tensor:
        if self.watch is not None and self.watch.changed():
            with torch.autocast(self.value.device.type, enabled=False):
                self.value = self._made()
        return self.value

"""Weights that change: towers take their tensors from the modules again, and products of weights are made anew.

Loading with `assign=True` and moving to another kind of device put new tensors into the modules; moving to another type
gives the same tensors other memory; an edit in place raises a tensor's version. All of it shows in identity, memory and
version, which are compared here. An edit through `.data` shows in none of them.
"""

import dataclasses
from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter
from typing import Any, Protocol, TypeVar

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


def with_homes(tower: Tower | None, root: nn.Module) -> Tower | None:
    """The tower, knowing which modules below `root` its tensors come from; None where there is no tower."""
    if tower is None:
        return None
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
    """The tower with the tensors that its modules have now: the same one if they are its own.

    Raises:
        ValueError: if its weights are on the meta device.
    """
    if torch.compiler.is_compiling():
        return tower
    changed: dict[str, Any] = {}
    for home in tower.homes:
        value, tensor = changed.get(home.field, getattr(tower, home.field)), home.tensor()
        if tensor is not None and tensor.is_meta:
            raise ValueError(
                f"{home.name} of the backbone is on the meta device, where weights have no numbers (an offload leaves "
                "them there); move the backbone with to_empty and load its weights again"
            )
        if home.index is None:
            if value is not tensor:
                changed[home.field] = tensor
        elif value[home.index] is not tensor:
            changed[home.field] = (*value[: home.index], tensor, *value[home.index + 1 :])
    return dataclasses.replace(tower, **changed) if changed else tower  # type: ignore[type-var]


class Watch:
    """Tells whether frozen weights are others than when it was last asked.

    Args:
        modules: modules whose frozen parameters and buffers are watched, and those of all modules below them.
        alone: modules whose own frozen parameters and buffers are watched.
    """

    def __init__(self, modules: Iterable[nn.Module], alone: Iterable[nn.Module] = ()):
        parts = {id(part): part for module in modules for part in module.modules()} | {id(part): part for part in alone}
        held = (holder for part in parts.values() for holder in (part._parameters, part._buffers))
        self._holders: list[dict[str, Any]] = [holder for holder in held if holder]
        self._look()

    def _look(self) -> None:
        places = [
            (holder, name, weight)
            for holder in self._holders
            for name, weight in holder.items()
            if weight is not None and not weight.requires_grad
        ]
        # The weights are held, so that no other tensor can take their places in memory meanwhile.
        self._weights = [weight for _, _, weight in places]
        self._versioned = [weight for weight in self._weights if not weight.is_inference()]
        versioned = [place for place in places if not place[2].is_inference()]
        few: list[tuple[dict[str, Any], str, Tensor]] = versioned[:: max(1, len(versioned) // 2)]
        self._few = [(holder, name, weight, weight._version, weight.data_ptr()) for holder, name, weight in few]
        self._seen = self._state()

    def _state(self) -> tuple[object, ...]:
        """What tells these weights from others: identities, versions and places in memory."""
        ids = list(map(id, chain.from_iterable(map(dict.values, self._holders))))
        return ids, sum(map(_version, self._versioned)), list(map(Tensor.data_ptr, self._weights))

    def _few_are_as_seen(self) -> bool:
        for holder, name, weight, version, place in self._few:
            if holder.get(name) is not weight or weight._version != version or weight.data_ptr() != place:
                return False
        return bool(self._few)

    def changed(self, briefly: bool = False) -> bool:
        """Whether a weight is another tensor, lies elsewhere or was written to since the last call.

        Args:
            briefly: look at two or three weights only, which shows loading and moving, but not the edit of one weight.
        """
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return False
        if (briefly and self._few_are_as_seen()) or self._state() == self._seen:
            return False
        self._look()
        return True


class Kept(nn.Module):
    """A tensor made of frozen weights, made again when they have changed.

    Between the steps of a training only a few weights are looked at; all of them are when it begins, and out of it.

    Args:
        make: makes the tensor.
        watch: of the weights that it is made of; None for a tensor that is never made again.
    """

    value: Tensor

    def __init__(self, make: Callable[[], Tensor], watch: Watch | None):
        super().__init__()
        self.make, self.watch, self.is_sure = make, watch, False
        self.register_buffer("value", self._made(), persistent=False)

    def train(self: "Kept", mode: bool = True) -> "Kept":
        """Enter a mode; the next look is at all weights."""
        self.is_sure = False
        return super().train(mode)

    def _made(self) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return self.make()

    def forward(self) -> Tensor:
        briefly = self.is_sure and self.training and torch.is_grad_enabled()
        if self.watch is not None and self.watch.changed(briefly):
            with torch.autocast(self.value.device.type, enabled=False):
                self.value = self._made()
        self.is_sure = True
        return self.value

"""Towers with weights of their own that learn, from where the backbone's stand; the backbone stays as it is.

A module whose weights learn is replaced by a view of it with parameters of its own; every module without such weights
is the backbone's. Learnt weights are float32 at least. On a backbone of half precision they are cast where they are
read, so that small steps are not rounded away and gradients flow into the full numbers.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from torch import Tensor, nn
from torch.nn.utils import parametrize

from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.own_projection import OwnProjection
from adaptkit.layers.tuned_parts import own_copy
from adaptkit.towers.block import ADDED_PARTS, Block
from adaptkit.towers.pooling import AttentionPool
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower
from adaptkit.towers.watch import Home

Tower = TypeVar("Tower", TextTower, VisionTower)
Self = TypeVar("Self", bound="OwnWeights")
EMBEDDINGS = ("conv1", "prefix", "positional_embedding", "ln_pre")  # parts of an image tower in front of its blocks
ENDS = ("pool", "ln_post", "ln_final", "projection")  # parts of either tower behind its blocks


@dataclass(frozen=True)
class Origin:
    """Where a learnt weight has its start from: the module of the backbone that has a parameter of that name."""

    own: nn.Module
    own_name: str
    source: nn.Module
    name: str

    def learnt(self) -> nn.Parameter:
        found = self.own._parameters.get(self.own_name)
        if found is None:  # It is cast where it is read.
            found = self.own.get_submodule(f"parametrizations.{self.own_name}").get_parameter("original")
        return found

    def start(self) -> Tensor:
        """The backbone's weight as it is now, in full precision."""
        return at_least_fp32(self.source.get_parameter(self.name).detach())


class OwnWeights(nn.Module):
    """The parts of a tower that have learnt weights; they stay in eval mode, as the backbone does."""

    origins: list[Origin]

    def __init__(self) -> None:
        super().__init__()
        self.origins = []
        self.in_front, self.blocks, self.behind = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.whole: nn.Module | None = None  # an image tower that does not come apart

    def train(self: Self, mode: bool = True) -> Self:
        """Stay in eval mode, so that no batch norm moves and no dropout draws; `mode` is ignored."""
        return super().train(False)

    def start_values(self) -> dict[str, Tensor]:
        """The backbone's weights by the names of the learnt ones that stand in their places."""
        starts = {id(origin.learnt()): origin.start() for origin in self.origins}
        return {name: starts[id(weight)] for name, weight in self.named_parameters() if id(weight) in starts}

    def write_into(self, copies: Mapping[int, object]) -> None:
        """Write the learnt weights over those of a copy of the backbone.

        Args:
            copies: the memo of `copy.deepcopy` that made it: id of a module -> its copy.
        """
        for origin in self.origins:
            copied = copies[id(origin.source)]
            assert isinstance(copied, nn.Module)
            copied.get_parameter(origin.name).data.copy_(origin.learnt().detach())

    def depths(self, depth: int) -> dict[str, int]:
        """Learnt weight of a tower of `depth` blocks -> how many steps from its end: 0 behind the last block."""
        found = dict.fromkeys(_learnt_names(self, "behind"), 0) | dict.fromkeys(
            _learnt_names(self, "in_front"), depth + 1
        )
        for layer in self.blocks:
            found |= dict.fromkeys(_learnt_names(self, f"blocks.{layer}"), depth - int(layer))
        return found


def with_whole_own(module: nn.Module, *, norms_only: bool) -> OwnWeights:
    """A view of an image tower that does not come apart, as `whole` of its learnt weights.

    Args:
        norms_only: whether its layer norms alone learn.
    """
    own = OwnWeights()
    view = _Viewer(own.origins, lambda part, weight: isinstance(part, nn.LayerNorm) or not norms_only).view(module)
    own.whole = view
    return own


def with_own_weights(
    tower: Tower, layers: Sequence[int], *, ends: bool, embeddings: bool, norms_only: bool
) -> tuple[Tower, OwnWeights]:
    """A tower whose weights learn in some blocks and around them: it, and those weights.

    A weight that blocks share, as a table of relative positions, learns where all blocks do. Parts that a wrapper has
    put into a block stay the wrapper's.

    Args:
        ends: whether the last norm, the pool and the projection learn.
        embeddings: whether the patch embedding, class token, positions and first norm of an image tower learn.
        norms_only: whether of all these the layer norms alone learn.
    """
    own: OwnWeights = OwnWeights()
    shared = _shared_by(tower.blocks) if len(layers) < tower.depth else set()

    def learns(module: nn.Module, weight: nn.Parameter) -> bool:
        kind_learns = isinstance(module, nn.LayerNorm) or not norms_only
        return kind_learns and weight.is_floating_point() and not weight.requires_grad and id(weight) not in shared

    viewer = _Viewer(own.origins, learns)
    blocks = list[Block](tower.blocks)
    for layer in layers:
        block = blocks[layer]
        assert isinstance(block, nn.Module)
        view = viewer.view(block, leave=ADDED_PARTS)
        if view is not block:
            blocks[layer], own.blocks[str(layer)] = cast(Block, view), view
    changed: dict[str, object] = {}
    in_front = EMBEDDINGS if embeddings and isinstance(tower, VisionTower) else ()
    for place, names in ((own.in_front, in_front), (own.behind, ENDS if ends else ())):
        for name in names:
            part = getattr(tower, name, None)
            if isinstance(part, nn.Module):
                module: nn.Module = part.pool if isinstance(part, AttentionPool) else part
                view = viewer.view(module)
                if view is module:
                    continue
                place[name] = changed[name] = view
                if isinstance(part, AttentionPool):
                    changed[name] = AttentionPool(view, part.width, part.n_left_out)
            elif isinstance(part, Tensor | tuple) and not norms_only:
                changed |= _own_tensors(tower, name, place, own.origins)
    kept: tuple[Home, ...] = tuple(home for home in tower.homes if home.field not in changed)
    changed["homes"] = (*kept, *_homes(own))
    typing = next((one for one in own.origins if one.source.get_parameter(one.name) is tower.typing_weight), None)
    if typing is not None:
        changed["typed_by"] = Home("typed_by", None, typing.source, typing.name)
    return replace(tower, blocks=blocks, **changed), own  # type: ignore[arg-type]


class _Viewer:
    """Makes views of modules with weights of their own; a module that stands in two places has one view."""

    def __init__(self, origins: list[Origin], learns: Callable[[nn.Module, nn.Parameter], bool]):
        self.origins, self.learns = origins, learns
        self.views: dict[int, nn.Module] = {}
        self.weights: dict[int, nn.Parameter] = {}  # id of a frozen weight -> the learnt one in its place

    def view(self, module: nn.Module, leave: Sequence[str] = ()) -> nn.Module:
        """A view of a module with learnt weights, or itself if it has none.

        Args:
            leave: children that stay as they are.
        """
        if id(module) in self.views:
            return self.views[id(module)]
        children = {
            name: child if child is None or name in leave else self.view(child)
            for name, child in module._modules.items()
        }
        learnt = [
            name for name, weight in module._parameters.items() if weight is not None and self.learns(module, weight)
        ]
        view = module
        if learnt or any(child is not module._modules[name] for name, child in children.items()):
            view = copy.copy(module)
            view._modules, view._parameters = children, dict(module._parameters)
            for name in learnt:
                self._give(view, module, name)
        self.views[id(module)] = view
        return view

    def _give(self, view: nn.Module, module: nn.Module, name: str) -> None:
        frozen = module.get_parameter(name)
        is_new = id(frozen) not in self.weights
        own = self.weights.setdefault(id(frozen), own_copy(frozen))
        view._parameters[name] = own
        if is_new:
            self.origins.append(Origin(view, name, module, name))
        if own.dtype != frozen.dtype:
            parametrize.register_parametrization(view, name, AsFrozen(module, name), unsafe=True)


class AsFrozen(nn.Module):
    """A learnt weight in the type of the frozen one in whose place it stands."""

    def __init__(self, module: nn.Module, name: str):
        super().__init__()
        self.source = (module, name)  # In a tuple, so that the backbone's module is none of this one's.

    def forward(self, weight: Tensor) -> Tensor:
        module, name = self.source
        return weight.to(module.get_parameter(name).dtype)


def _learnt_names(own: nn.Module, part: str) -> list[str]:
    below = own.get_submodule(part).named_parameters(prefix=part)
    return [name for name, weight in below if weight.requires_grad]


def _shared_by(blocks: Sequence[Block]) -> set[int]:
    """Ids of the weights that stand in more than one block."""
    seen: set[int] = set()
    several: set[int] = set()
    for block in blocks:
        own = {id(weight) for weight in block.parameters()}
        several |= own & seen
        seen |= own
    return several


def _own_tensors(tower: TextTower | VisionTower, field: str, place: nn.ModuleDict, origins: list[Origin]) -> dict:
    """A field of a tower that is a tensor, or several, as tensors that learn; a projection becomes a module."""
    homes = sorted((home for home in tower.homes if home.field == field), key=lambda home: home.index or 0)
    holder = nn.Module()
    if field == "projection":
        (home,) = homes
        holder = OwnProjection(home.module.get_parameter(home.name))
        origins.append(Origin(holder, "weight", home.module, home.name))
        place[field] = holder
        return {field: holder}
    for home in homes:
        name = home.name if home.index is None else f"{home.index}"
        holder.register_parameter(name, own_copy(home.module.get_parameter(home.name)))
        origins.append(Origin(holder, name, home.module, home.name))
    place[field] = holder
    values = tuple(holder.parameters())
    return {field: values if isinstance(getattr(tower, field), tuple) else values[0]}


def _homes(own: OwnWeights) -> list[Home]:
    """Where a tower finds its learnt tensors that are no module's."""
    return [
        Home(field, int(name) if name.isdigit() else None, holder, name)
        for field, holder in own.in_front.items()
        if field in ("prefix", "positional_embedding")
        for name in holder._parameters
    ]

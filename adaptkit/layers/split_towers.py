"""Towers with a separate linear layer for every projection, over the frozen weights, for layer tuners to wrap.

open_clip's attention keeps queries, keys and values in one packed weight, and `nn.MultiheadAttention` never calls its
output layer, so a tuner has nothing to wrap there. A `SplitTower` has the modules of a tower under the tower's own
names, such as `blocks.3.attn.q_proj` or `blocks.3.mlp.c_fc`. Its modules are new, its weights are the backbone's.
"""

import copy
import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from adaptkit.layers.block_view import BlockView
from adaptkit.towers.attention import OPTIONAL_PARTS, AttentionLayer, projections
from adaptkit.towers.block import ADDED_PARTS, Block, is_gone
from adaptkit.towers.linears import FrozenLinear
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower

Tower = TypeVar("Tower", TextTower, VisionTower)
Module = TypeVar("Module", bound=nn.Module)


@dataclasses.dataclass(frozen=True)
class Tie:
    """A weight of our own module that stands for a frozen weight of the backbone."""

    own: nn.Module
    name: str
    source: nn.Module  # The module with a weight of that name, or the attention layer.
    part: int | None = None  # Number of a projection (queries, keys, values) of the attention layer `source`.

    def own_weight(self) -> nn.Parameter | None:
        return self.own._parameters[self.name]

    def weight(self) -> Tensor:
        """The backbone's weight as it is now, on the backbone's memory."""
        if self.part is None:
            found: Tensor | None = self.source._parameters[self.name]
        else:
            weight, bias = projections(self.source)[self.part]  # type: ignore[arg-type]
            found = bias if self.name == "bias" else weight
        assert found is not None
        return found.detach()


class SplitTower(nn.Module):
    """The modules of a tower that tuners can reach, with split attention layers; token embeddings stay out.

    `ties` are their weights beside the backbone's; at first both are on the same memory.
    """

    blocks: nn.ModuleList
    ties: list[Tie]

    def __init__(self, tower: TextTower | VisionTower):
        super().__init__()
        self.ties = []
        for field in dataclasses.fields(tower):
            part = getattr(tower, field.name)
            if isinstance(part, nn.Module) and not isinstance(part, nn.Embedding | nn.ModuleList | nn.Sequential):
                own = copy_over_same_weights(part)
                self.add_module(field.name, own)
                self.ties += _ties(own, part)
        self.blocks = nn.ModuleList(_split_block(block, self.ties) for block in tower.blocks)

    def in_place_of(self, tower: Tower) -> Tower:
        """The tower with these modules in place of its own."""
        return dataclasses.replace(tower, **dict(self.named_children()))  # type: ignore[arg-type]


class SplitAttention(nn.Module):
    """An attention layer with a linear layer per projection, for the functions of `adaptkit.towers.attention`."""

    def __init__(self, attn: AttentionLayer):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (_linear(*parts) for parts in projections(attn))
        self.out_proj = _linear(attn.out_proj.weight, attn.out_proj.bias)
        self.num_heads = attn.num_heads
        for part in OPTIONAL_PARTS:
            setattr(self, part, getattr(attn, part, None))

    def project_qkv(self, x: Tensor) -> Tensor:
        """Queries, keys and values of x (..., width) side by side: (..., 3 * width)."""
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], dim=-1)

    def project_q(self, x: Tensor) -> Tensor:
        """Queries of x (..., width): (..., width)."""
        return self.q_proj(x)

    def project_kv(self, x: Tensor) -> Tensor:
        """Keys and values of x (..., width) side by side: (..., 2 * width)."""
        return torch.cat([self.k_proj(x), self.v_proj(x)], dim=-1)


def copy_over_same_weights(module: Module) -> Module:
    """New modules with new parameters on the same memory; they may be frozen, wrapped or replaced."""
    memo: dict[int, object] = {id(buffer): buffer for buffer in module.buffers()}
    memo |= {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in module.parameters()}
    return copy.deepcopy(module, memo)


def take_own_memory(ties: Sequence[Tie]) -> None:
    """Move our weights off the backbone's memory, so that whatever writes into them leaves the backbone as it is."""
    for tie in ties:
        setattr(tie.own, tie.name, nn.Parameter(tie.weight().clone(), requires_grad=False))


def _split_block(block: Block, ties: list[Tie]) -> nn.Module:
    assert isinstance(block, nn.Module)
    if is_gone(block):
        return block
    # Added parts stay shared and go on learning.
    parts = {name: part for name, part in block.named_children() if name in ADDED_PARTS}
    source = BlockView(block, **{name: nn.Identity() for name in parts})
    own = copy_over_same_weights(source)
    attn = SplitAttention(own.attn)
    view = BlockView(own, attn=attn, **parts)
    for name, module in view.named_children():
        if name not in (*parts, "attn"):
            ties += _ties(module, source.get_submodule(name))
    packed = source.get_submodule("attn")
    for number, layer in enumerate((attn.q_proj, attn.k_proj, attn.v_proj)):
        ties += [Tie(layer, kind, packed, number) for kind, weight in layer._parameters.items() if weight is not None]
    ties += _ties(attn.out_proj, packed.get_submodule("out_proj"))
    for part in OPTIONAL_PARTS:
        if isinstance(getattr(attn, part), nn.Module):
            ties += _ties(getattr(attn, part), packed.get_submodule(part))
    return view


def _ties(own: nn.Module, source: nn.Module) -> list[Tie]:
    """Ties of all weights of a module to those of the module that it copies."""
    return [
        Tie(module, name, source.get_submodule(path))
        for path, module in own.named_modules()
        for name, weight in module._parameters.items()
        if weight is not None
    ]


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer on the memory of weight (O, I) and bias (O,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return FrozenLinear(layer)

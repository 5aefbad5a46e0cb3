"""Towers with low-rank updates beside the projections of their blocks: attention, and the linear layers of the MLP."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from torch import Tensor, nn

from adaptkit.layers.block_view import BlockView
from adaptkit.layers.lora_attention import LoRAAttention, LowRank
from adaptkit.towers.block import Block
from adaptkit.towers.linears import linear
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower

Tower = TypeVar("Tower", TextTower, VisionTower)
MLP = "mlp/"  # In front of the name of an update that belongs to a linear layer of the MLP.


class LoRALinear(nn.Module):
    """A frozen linear layer with a low-rank update, for the place of that layer."""

    def __init__(self, frozen: nn.Linear, update: LowRank):
        super().__init__()
        self.frozen, self.update = frozen, update

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.frozen.weight, self.frozen.bias) + self.update(x)


def mlp_linears(block: Block) -> dict[str, nn.Linear]:
    """The linear layers of a block's MLP, by names for updates."""
    return {
        MLP + name.replace(".", "/"): layer
        for name, layer in block.mlp.named_modules()
        if isinstance(layer, nn.Linear) and name
    }


def with_updates(tower: Tower, updates: nn.ModuleDict, soft_cap: float | None = None) -> Tower:
    """The same tower with updates beside the projections of its blocks.

    Args:
        updates: layer -> projection -> `LowRank`; projections are "q", "k", "v", "o", and names of `mlp_linears`.
        soft_cap: scores a of these layers' attention become soft_cap * tanh(a / soft_cap); None leaves them.
    """
    blocks: list[Block] = list(tower.blocks)
    for layer, by_projection in updates.items():
        block = blocks[int(layer)]
        assert isinstance(by_projection, nn.ModuleDict)
        parts: dict[str, nn.Module] = {"attn": LoRAAttention(block.attn, by_projection, soft_cap)}
        in_mlp = {
            id(linear): by_projection[name] for name, linear in mlp_linears(block).items() if name in by_projection
        }
        if in_mlp:
            parts["mlp"] = _replaced(block.mlp, in_mlp)
        blocks[int(layer)] = BlockView(block, **parts)
    return replace(tower, blocks=blocks)


def _replaced(module: nn.Module, updates: Mapping[int, nn.Module]) -> nn.Module:
    """A view of a module whose linear layers have updates; everything else is shared with it."""
    update = updates.get(id(module))
    if isinstance(update, LowRank):
        assert isinstance(module, nn.Linear)
        return LoRALinear(module, update)
    if not any(id(part) in updates for part in module.modules()):
        return module
    view = copy.copy(module)
    view._modules = {name: part if part is None else _replaced(part, updates) for name, part in module._modules.items()}
    return view

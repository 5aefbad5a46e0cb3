"""Towers with a separate linear layer for every projection, over the frozen weights, for layer tuners to wrap.

open_clip's attention keeps queries, keys and values in one packed weight, and `nn.MultiheadAttention` never calls its
output layer, so a tuner has nothing to wrap there. A `SplitTower` has the modules of a tower under the tower's own
names, such as `blocks.3.attn.q_proj` or `blocks.3.mlp.c_fc`. Its modules are new, its weights are the backbone's.
"""

import copy
import dataclasses
from typing import TypeVar

import torch
from torch import Tensor, nn

from adaptkit.layers.block_view import BlockView
from adaptkit.towers.attention import OPTIONAL_PARTS, AttentionLayer, projections
from adaptkit.towers.block import WRAPPERS_PARTS, Block, is_gone
from adaptkit.towers.linears import FrozenLinear
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower

Tower = TypeVar("Tower", TextTower, VisionTower)
Module = TypeVar("Module", bound=nn.Module)


class SplitTower(nn.Module):
    """The modules of a tower that tuners can reach, with split attention layers; token embeddings stay out."""

    blocks: nn.ModuleList

    def __init__(self, tower: TextTower | VisionTower):
        super().__init__()
        for field in dataclasses.fields(tower):
            part = getattr(tower, field.name)
            if isinstance(part, nn.Module) and not isinstance(part, nn.Embedding | nn.ModuleList | nn.Sequential):
                self.add_module(field.name, copy_over_same_weights(part))
        self.blocks = nn.ModuleList(_split_block(block) for block in tower.blocks)

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


def give_own_memory(module: nn.Module, frozen: nn.Module) -> None:
    """Move the learning parameters of `module` off the memory of `frozen`, so that `frozen` stays unchanged."""
    shared = {weight.untyped_storage().data_ptr() for weight in frozen.parameters()}
    for parameter in module.parameters():
        if parameter.requires_grad and parameter.untyped_storage().data_ptr() in shared:
            parameter.data = parameter.data.clone()


def _split_block(block: Block) -> nn.Module:
    assert isinstance(block, nn.Module)
    if is_gone(block):
        return block
    # Parts of wrappers stay shared and go on learning.
    parts = {name: part for name, part in block.named_children() if name in WRAPPERS_PARTS}
    own = copy_over_same_weights(BlockView(block, **{name: nn.Identity() for name in parts}))
    return BlockView(own, attn=SplitAttention(own.attn), **parts)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer on the memory of weight (O, I) and bias (O,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return FrozenLinear(layer)

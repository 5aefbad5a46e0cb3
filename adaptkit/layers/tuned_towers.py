"""Towers in which layer norms, or biases, learn; the backbone's modules and weights stay as they are."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeGuard, TypeVar

from torch import nn

from adaptkit.layers.block_view import BlockView
from adaptkit.layers.split_towers import copy_over_same_weights
from adaptkit.layers.tuned_parts import OutputOf, TunedBias, TunedNorm
from adaptkit.towers.block import Block
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower

Tower = TypeVar("Tower", TextTower, VisionTower)
ENDS = ("ln_pre", "ln_post", "ln_final")  # norms of a tower outside its blocks


def with_tuned_norms(tower: Tower, layers: Sequence[int], *, ends: bool) -> tuple[Tower, nn.ModuleDict]:
    """A tower whose layer norms learn in some blocks, and outside the blocks with `ends`: it, and those norms."""
    blocks, tuned = list[Block](tower.blocks), nn.ModuleDict()
    for layer in layers:
        parts = _norms(blocks[layer], gain=True)
        blocks[layer], tuned[str(layer)] = BlockView(blocks[layer], **parts), nn.ModuleDict(parts)
    outside = _ends(tower, gain=True) if ends else {}
    tuned.update(outside)
    return replace(tower, blocks=blocks, **outside), tuned  # type: ignore[arg-type]


def with_tuned_biases(tower: Tower, layers: Sequence[int]) -> tuple[Tower, nn.ModuleDict]:
    """A tower whose biases learn, but those of queries, keys and values: it, and the layers that have them.

    In the chosen blocks they are the biases of the layer norms, of the MLP and of the attention's output (Ben Zaken et
    al., "BitFit", arXiv:2106.10199); those of the norms outside the blocks learn, too.
    """
    blocks, tuned = list[Block](tower.blocks), nn.ModuleDict()
    for layer in layers:
        block = blocks[layer]
        own = _norms(block, gain=False)
        parts: dict[str, nn.Module] = {**own}
        parts["mlp"], in_mlp = _with_biases(block.mlp)
        own |= in_mlp
        if getattr(block.attn.out_proj, "bias", None) is not None:
            own["out_proj"] = TunedBias(block.attn.out_proj)
            parts["attn"] = OutputOf(block.attn, own["out_proj"])
        blocks[layer], tuned[str(layer)] = BlockView(block, **parts), nn.ModuleDict(own)
    outside = _ends(tower, gain=False)
    tuned.update(outside)
    return replace(tower, blocks=blocks, **outside), tuned  # type: ignore[arg-type]


def _norms(block: Block, *, gain: bool) -> dict[str, nn.Module]:
    found = ((name, getattr(block, name)) for name in ("ln_1", "ln_2"))
    return {name: TunedNorm(norm, gain=gain) for name, norm in found if _has_numbers(norm)}


def _ends(tower: TextTower | VisionTower, *, gain: bool) -> dict[str, nn.Module]:
    found = ((name, getattr(tower, name, None)) for name in ENDS)
    return {name: TunedNorm(norm, gain=gain) for name, norm in found if _has_numbers(norm)}


def _has_numbers(norm: object) -> TypeGuard[nn.LayerNorm]:
    """Whether it is a layer norm with a gain, and not one that a wrapper has put there to do nothing."""
    return isinstance(norm, nn.LayerNorm) and norm.elementwise_affine


def _with_biases(mlp: nn.Module) -> tuple[nn.Module, dict[str, nn.Module]]:
    """An MLP over the same weights whose linear layers have biases that learn: it, and those layers by name."""
    own, tuned = copy_over_same_weights(mlp), dict[str, nn.Module]()
    for path, module in mlp.named_modules():
        if not path or any(True for _ in module.children()):
            continue
        parent, _, name = path.rpartition(".")
        if isinstance(module, nn.Linear) and module.bias is not None:
            tuned[path.replace(".", "_")] = module = TunedBias(module)
        setattr(own.get_submodule(parent), name, module)
    return own, tuned

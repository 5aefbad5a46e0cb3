"""The light layers of DAS: stand-ins for skipped blocks, and adapters beside kept ones.

    A(x) = s Up(ReLU(Down(LN(x)))),    LN learnt
A skipped block becomes x + A(x); beside a kept block's MLP, and if asked its attention, A reads the same x as they do.
"""

from dataclasses import replace
from typing import Generic, Literal, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.layers.block_view import BlockView
from adaptkit.towers.block import Block
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower

Tower = TypeVar("Tower", TextTower, VisionTower)
Init = Literal["zero", "normal", "fitted", "distilled"]
SkipForm = Literal["input", "normed"]
Kept = Literal["mlp", "both", "none"]
INIT_STD = 0.02


class NormedBottleneck(nn.Module):
    """The adapter A: x (..., width) -> A(x) (..., width).

    Args:
        init: "zero", "fitted" and "distilled" start Up, and so A, at zero (linear_fit.py and stand_ins.py put other
            values in later); "normal" starts Up like Down at N(0, 0.02^2), as published.
    """

    def __init__(self, width: int, bottleneck: int, init: Init, scale: float, device: torch.device):
        super().__init__()
        self.ln = nn.LayerNorm(width, device=device)
        self.down = nn.Linear(width, bottleneck, device=device)
        self.up = nn.Linear(bottleneck, width, device=device)
        self.scale = scale
        nn.init.normal_(self.down.weight, std=INIT_STD)
        for bias in (self.down.bias, self.up.bias):
            nn.init.zeros_(bias)
        if init == "normal":
            nn.init.normal_(self.up.weight, std=INIT_STD)
        else:
            nn.init.zeros_(self.up.weight)

    def normed(self, x: Tensor) -> Tensor:
        """The learnt layer norm LN(x)."""
        return F.layer_norm(x, x.shape[-1:], self.ln.weight.to(x.dtype), self.ln.bias.to(x.dtype), self.ln.eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.of_normed(self.normed(x))

    def of_normed(self, x: Tensor) -> Tensor:
        """The adapter A for an x that is normalised already."""
        hidden = F.relu(F.linear(x, self.down.weight.to(x.dtype), self.down.bias.to(x.dtype)))  # (..., bottleneck)
        update = F.linear(hidden, self.up.weight.to(x.dtype), self.up.bias.to(x.dtype))
        return update if self.scale == 1 else self.scale * update


class SkipAdapter(NormedBottleneck):
    """A stand-in for a block while it is `active`: x (..., width) -> x + A(x).

    In the form "normed" it is x + LN(x) + A(x), as in the released code for LLaVA.
    """

    active = False

    def __init__(
        self, width: int, bottleneck: int, init: Init, scale: float, device: torch.device, form: SkipForm = "input"
    ):
        super().__init__(width, bottleneck, init, scale, device)
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        normed = self.normed(x)
        update = self.of_normed(normed)
        return x + (normed + update if self.form == "normed" else update)


class SkippedBlock(nn.Module):
    """A block that is skipped for good: only its stand-in is left, active."""

    def __init__(self, skip: SkipAdapter):
        super().__init__()
        self.skip = skip
        skip.active = True

    def forward(self, x: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
        """Run the stand-in: x (N, L, width) -> (N, L, width); the mask is ignored, because no row sees another."""
        return self.skip(x)


class AdaptedTower(nn.Module, Generic[Tower]):
    """A tower whose blocks are skipped or kept with adapters; `tower` is the view, all else learns.

    Args:
        skipped: blocks that are gone; None keeps every block and lets `use` skip any of them.
        skip_bottleneck: width inside a stand-in.
        kept_bottleneck: width inside an adapter beside a kept block.
    """

    def __init__(
        self,
        tower: Tower,
        skipped: tuple[int, ...] | None,
        *,
        skip_bottleneck: int,
        kept_bottleneck: int,
        kept: Kept,
        init: Init,
        form: SkipForm,
        scale: float,
    ):
        super().__init__()
        device, width = tower.device, tower.width

        def bottleneck(inside: int) -> NormedBottleneck:
            return NormedBottleneck(width, inside, init, scale, device)

        self.skips, self.beside_attn, self.beside_mlp = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        blocks = list[Block](tower.blocks)
        for layer, block in enumerate(tower.blocks):
            key, parts = str(layer), dict[str, nn.Module]()
            is_gone = skipped is not None and layer in skipped
            if skipped is None or is_gone:
                skip = SkipAdapter(width, skip_bottleneck, init, scale, device, form)
                parts["skip"] = self.skips[key] = skip
            if not is_gone and kept == "both":
                parts["beside_attn"] = self.beside_attn[key] = bottleneck(kept_bottleneck)
            if not is_gone and kept != "none":
                parts["beside_mlp"] = self.beside_mlp[key] = bottleneck(kept_bottleneck)
            if is_gone:
                # The towers ask `is_gone` before they use its parts.
                blocks[layer] = cast(Block, SkippedBlock(skip))
            elif parts:
                blocks[layer] = BlockView(block, **parts)
        self.tower: Tower = replace(tower, blocks=blocks)

    def stand_ins(self) -> dict[int, SkipAdapter]:
        """Stand-ins by block: of the skipped blocks, or of all if any block can be skipped."""
        return {int(layer): skip for layer, skip in self.skips.items() if isinstance(skip, SkipAdapter)}

    def use(self, skipped: tuple[int, ...]) -> None:
        """Skip these blocks and run the others, in a tower that lets any block be skipped."""
        for layer, stand_in in self.stand_ins().items():
            stand_in.active = layer in skipped

"""Frozen blocks of text towers, without mask and positions, and the two controls."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.foreign_model import is_foreign
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.loading import MINI, load_backbone
from adaptkit.layers.block_view import BlockView
from adaptkit.towers.block import Block, can_run_block, run_block, run_first_rows
from adaptkit.towers.full_text import encode_words
from adaptkit.towers.text import TextTower
from adaptkit.towers.watch import current
from adaptkit.wrappers.lm4visual.config import LM4VisualConfig
from adaptkit.wrappers.lm4visual.step import Between

MOST_TEXTS = 64  # class prompts that are measured
WITHOUT_CLASSES = ("a photo of a thing.",)


class TextBlock(Between):
    """A block of a text tower over any tokens, and the tower's final norm behind it unless it is None."""

    def __init__(self, block: Block, norm: nn.Module | None, width: int):
        super().__init__()
        assert isinstance(block, nn.Module)
        self.block, self.norm, self.width = block, norm, width

    def forward(self, x: Tensor, gain: Tensor | None = None, wanted: int | None = None) -> Tensor:
        if wanted is None or gain is not None:
            x = run_block(self.block, x, gain)[:, :wanted]
        else:
            x = run_first_rows(self.block, x, wanted)
        return x if self.norm is None else self.norm(x)

    def macs(self, rows: int) -> int:
        mlp = sum(weight.numel() for weight in self.block.mlp.parameters() if weight.ndim == 2)
        return rows * (4 * self.width**2 + mlp) + 2 * rows**2 * self.width


class Activation(Between):
    """GELU alone, with which the two maps are an MLP."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, gain: Tensor | None = None, wanted: int | None = None) -> Tensor:
        return F.gelu(x[:, :wanted])

    def macs(self, rows: int) -> int:
        return 0


@torch.no_grad()
def with_random_weights(block: TextBlock, seed: int) -> TextBlock:
    """A block of the same shape whose tensors are normal numbers of the same means and standard deviations."""
    drawn, generator = copy.deepcopy(block), torch.Generator().manual_seed(seed)
    for weight in drawn.parameters():
        numbers = torch.randn(weight.shape, generator=generator).to(weight.device)
        own = weight.float()
        weight.copy_(own.mean() + own.std(correction=0) * numbers)
    return drawn


@dataclass(frozen=True)
class Language:
    """A text tower and the number of the block that is taken from it."""

    backbone: FrozenCLIP  # as it was loaded
    tower: TextTower
    number: int
    is_own: bool  # whether it is the wrapped backbone's own

    def between(self, config: LM4VisualConfig) -> Between:
        """What the options put between the maps."""
        if config.kind == "mlp":
            return Activation(self.tower.width)
        norm = self.tower.ln_final if config.final_norm else None
        assert norm is None or isinstance(norm, nn.Module)
        block = TextBlock(self.tower.blocks[self.number], norm, self.tower.width)
        return block if config.kind == "text_block" else with_random_weights(block, config.seed)

    @torch.no_grad()
    def rms_of_texts(self, texts: Sequence[str]) -> float:
        """Root mean square of the tokens of texts, up to [EOS], in front of the block."""
        in_front = [BlockView(block) for block in self.tower.blocks[: self.number]]
        tower = replace(self.tower, blocks=in_front, ln_final=nn.Identity())
        tokens = self.backbone.tokenize(list(texts[:MOST_TEXTS]) or WITHOUT_CLASSES).to(self.backbone.device)
        rows, is_real = encode_words(tower, tokens, self.backbone.tokenizer.pad_id)
        return root_mean_square(rows[is_real])


def root_mean_square(x: Tensor) -> float:
    """Root of the mean square of all numbers of x."""
    return float(x.float().square().mean().sqrt())


def language_of(backbone: FrozenCLIP, config: LM4VisualConfig) -> Language:
    """The text tower and the block that the options name.

    Raises:
        ValueError: if the source is no name of a model with its weights, or its text tower has no such block.
    """
    found = backbone.as_loaded() if not config.source else _loaded(config.source).to(backbone.device)
    tower = found.text_tower
    if tower is None or not all(can_run_block(block) for block in tower.blocks):
        raise ValueError(
            f"lm4visual takes a block out of a text tower with open_clip's pre-norm blocks, and that of {found.name} "
            'has none; name another model as the source, such as source="ViT-B-16/openai"'
        )
    if config.block >= tower.depth:
        raise ValueError(
            f"block={config.block}; the text tower of {found.name} has blocks 0 to {tower.depth - 1}; -1 is the last"
        )
    return Language(found, current(tower), config.block % tower.depth, is_own=not config.source)


def _loaded(source: str) -> FrozenCLIP:
    """The model that a source names, which a file may name as well: no folder and no hub repository is opened.

    Raises:
        ValueError: if it names none of open_clip's models with a tag, nor the embedded one.
    """
    name, _, tag = source.rpartition("/")
    if source == MINI:
        return load_backbone(MINI)
    if not name or not tag or is_foreign(source):
        raise ValueError(
            f"source={source!r}; expected the name and the tag of an open_clip model, such as "
            f'"ViT-L-14/openai", or {MINI!r}, or nothing for the own text tower'
        )
    return load_backbone(name, pretrained=tag)

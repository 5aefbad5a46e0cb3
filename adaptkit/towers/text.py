"""The parts of an open_clip text tower.

Prompts of a causal tower run as a token tree (tree_encoder.py), prompts of other towers at full length (full_text.py).

Letters: N texts, L text positions, D joint width, D_t width of the text tower.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adaptkit.towers.block import Block, is_supported_block
from adaptkit.towers.entering import Entering
from adaptkit.towers.watch import Home


@dataclass(frozen=True)
class TextTower:
    """The parts of an open_clip text tower."""

    token_embedding: nn.Embedding
    positional_embedding: Tensor  # (L, D_t); an appended class token has one more row.
    blocks: Sequence[Block]
    ln_final: Callable[[Tensor], Tensor]
    projection: Tensor | nn.Linear | None  # (D_t, D)
    attn_mask: Tensor | None  # Additive (L, L); None if all positions see each other.
    # The row that becomes the feature: "argmax" or "eos" ([EOS]), "first", "last".
    pool: str
    eos_id: int
    # (D_t,), appended behind the padding (CoCa); its row becomes the feature.
    class_embedding: Tensor | None
    pad_id: int | None  # Id hidden from all positions; None shows padding.
    pads_from_the_front: bool  # CoCa's released weights shift the padding mask by one.
    homes: tuple[Home, ...] = ()  # Where the tensors come from, see `watch.current`.
    entering: Entering | None = None  # Tokens that enter behind [SOS] on the way through the blocks.
    typed_by: Home | None = None  # The frozen weight in whose type a tower of learnt weights computes.

    @property
    def width(self) -> int:
        return self.token_embedding.embedding_dim

    @property
    def depth(self) -> int:
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        return self.token_embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the blocks' weights, to which tokens are cast; that of the positions if every block is skipped."""
        frozen = None if self.typed_by is None else self.typed_by.tensor()
        return (self.typing_weight if frozen is None else frozen).dtype

    @property
    def typing_weight(self) -> Tensor:
        """The weight in whose type the tower computes, unless `typed_by` says another."""
        mlps = (block.mlp for block in self.blocks if hasattr(block, "mlp"))
        weights = (weight for mlp in mlps for weight in mlp.parameters() if weight.ndim == 2)
        return next(weights, self.positional_embedding)

    def is_causal(self) -> bool:
        """Whether the feature depends only on tokens up to [EOS], and each row only on earlier tokens."""
        return (
            self.attn_mask is not None
            and self.pool in ("argmax", "eos")
            and self.class_embedding is None
            and self.pad_id is None
            and all(is_supported_block(block) for block in self.blocks)
        )

    def ends(self, tokens: Tensor) -> Tensor:
        """Position of [EOS] in each text: tokens (N, L) -> (N,)."""
        return tokens.argmax(dim=-1) if self.pool == "argmax" else (tokens == self.eos_id).int().argmax(dim=-1)

    def project(self, x: Tensor) -> Tensor:
        """Project rows to the joint space: (..., D_t) -> (..., D)."""
        if self.projection is None:
            return x
        return x @ self.projection if isinstance(self.projection, Tensor) else self.projection(x)

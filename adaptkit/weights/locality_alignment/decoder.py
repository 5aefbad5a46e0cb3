"""The light decoder that learns beside the tower and is thrown away: masked tokens in, the teacher's tokens out.

Letters: N masked images, P patches, R = prefix + P rows, D the decoder's width, D_t the teacher's.
"""

from collections import OrderedDict
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

Head = Literal["linear", "mlp"]
MLP_RATIO = 4
POSITION_STD = 0.02


class StudentHead(nn.Module):
    """What stands behind the student's tower: a fresh norm and a layer that starts at zero: (..., D_v) -> (..., D).

    Args:
        width: D_v of the tower.
        dim: D of the decoder.
        kind: "linear", or "mlp" with one hidden layer.
        eps: of the norm.
        mlp_ratio: width of the hidden layer, as a multiple of D_v.
    """

    def __init__(self, width: int, dim: int, kind: Head = "linear", eps: float = 1e-5, mlp_ratio: float = MLP_RATIO):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)
        hidden = int(mlp_ratio * width)
        last = nn.Linear(width if kind == "linear" else hidden, dim)
        self.head: nn.Module = last
        if kind == "mlp":
            self.head = nn.Sequential(OrderedDict(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=last))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.norm(rows))


class MaskEmbedDecoder(nn.Module):
    """Student tokens (B, R, D) and masks (B * K, P) -> predictions (B * K, R, D_t); the paper's H.

    Tokens of dropped patches and of the prefix are multiplied by 0 in front of the position embedding, so a prediction
    sees nothing of them.

    Args:
        dim: width D.
        heads: of the attention.
        patches: number P.
        prefix: number of class and register tokens.
        out_dim: width D_t of the targets.
        layers: number of blocks.
        layer_scale: start of the blocks' LayerScale.
        prefix_only: whether predictions are of the class token alone, (B * K, 1, D_t).
        eps: of the norms in the blocks.

    Example:
        ```python
        from adaptkit.weights.locality_alignment import MaskEmbedDecoder, uniform_masks

        decoder = MaskEmbedDecoder(dim=16, heads=2, patches=9, prefix=1, out_dim=24)
        predicted = decoder(torch.randn(2, 10, 16), uniform_masks(torch.rand(6, 10)))
        assert predicted.shape == (6, 10, 24)
        ```
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        patches: int,
        prefix: int,
        out_dim: int,
        layers: int = 2,
        layer_scale: float = 1e-6,
        prefix_only: bool = False,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.prefix, self.prefix_only = prefix, prefix_only
        self.pos_embed = nn.Parameter(POSITION_STD * torch.randn(1, prefix + patches, dim))
        self.blocks = nn.Sequential(*(_block(dim, heads, layer_scale, eps) for _ in range(layers)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, out_dim)

    def forward(self, tokens: Tensor, masks: Tensor) -> Tensor:
        tokens = tokens.repeat_interleave(len(masks) // len(tokens), dim=0)  # (B * K, R, D)
        kept = F.pad(masks.to(tokens.dtype), (self.prefix, 0))[..., None]  # (B * K, R, 1); the prefix is dropped
        x = self.head(self.norm(self.blocks(tokens * kept + self.pos_embed)))
        return x[:, :1] if self.prefix_only else x


def _block(dim: int, heads: int, layer_scale: float, eps: float) -> Block:
    norm: Any = partial(nn.LayerNorm, eps=eps)
    return Block(dim, heads, MLP_RATIO, qkv_bias=True, init_values=layer_scale, norm_layer=norm)

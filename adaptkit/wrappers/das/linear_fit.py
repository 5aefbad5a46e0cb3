"""Stand-ins that start as the nearest linear copy of their block (ours; not in the paper of DAS).

With rows x in front of a skipped block, and rows y behind it in the tower as loaded, of the training images:
    min over M, b of  sum |LN(x) M + b - (y - x)|^2 + n ridge |M|^2,    rank of M at most half the bottleneck
by ridge regression and the principal directions of its fitted values (reduced-rank regression: Izenman, "Reduced-rank
regression for the multivariate linear model", 1975). As ReLU(v) - ReLU(-v) = v, a bottleneck of twice the rank is that
linear map exactly; training starts there.

Letters: N texts or images, L rows of each, r the rank.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.towers.block import Block, run_block
from adaptkit.towers.vision import embed_patches
from adaptkit.wrappers.das.blocks import SkipAdapter

RIDGE = 1e-2  # In units of the mean square of LN(x), which is 1.
CHUNK = 64  # Images or texts in one pass through the towers.


@torch.no_grad()
def fit_image_stand_ins(
    backbone: FrozenCLIP, stand_ins: Mapping[int, SkipAdapter], images: Tensor, gone: Sequence[int]
) -> None:
    """Fit the stand-ins of the image tower on images (N, 3, H, W).

    Args:
        backbone: the backbone as it was loaded.
        stand_ins: stand-ins by block.
        gone: blocks that are skipped together; each other block is fitted as if it were skipped alone.
    """
    tower = backbone.require_vit_blocks("das")
    for layer, stand_in in sorted(stand_ins.items()):
        earlier = {block: stand_ins[block] for block in gone if block < layer}
        rows = (
            _around(tower.blocks, layer, earlier, embed_patches(tower, part), None).flatten(1, 2)
            for part in images.split(CHUNK)
        )
        _fit(stand_in, rows)


@torch.no_grad()
def fit_text_stand_ins(
    backbone: FrozenCLIP, stand_ins: Mapping[int, SkipAdapter], classes: ClassSet, gone: Sequence[int]
) -> None:
    """Fit the stand-ins of the text tower on the classes' hand-written prompts, up to [EOS].

    The arguments are those of `fit_image_stand_ins`.
    """
    tower = backbone.text_tower
    assert tower is not None
    tokens = backbone.tokenize([template.format(name) for template in classes.templates for name in classes.readable])
    tokens = tokens.to(backbone.device)
    said = torch.arange(tokens.shape[1], device=tokens.device) <= tower.ends(tokens)[:, None]  # (N, L)
    x = tower.token_embedding(tokens).to(tower.dtype) + tower.positional_embedding[: tokens.shape[1]].to(tower.dtype)
    mask = tower.attn_mask
    if mask is not None:
        mask = mask[: x.shape[1], : x.shape[1]].to(x.device, x.dtype)
    for layer, stand_in in sorted(stand_ins.items()):
        earlier = {block: stand_ins[block] for block in gone if block < layer}
        rows = (
            _around(tower.blocks, layer, earlier, part, mask)[:, seen]
            for part, seen in zip(x.split(CHUNK), said.split(CHUNK), strict=True)
        )
        _fit(stand_in, rows)


def _around(
    blocks: Sequence[Block], layer: int, earlier: Mapping[int, SkipAdapter], x: Tensor, mask: Tensor | None
) -> Tensor:
    """Rows before a block, in the tower with stand-ins, and behind it, in the whole tower: (2, N, L, width)."""
    whole = x
    for index, block in enumerate(blocks[:layer]):
        x = earlier[index](x) if index in earlier else run_block(block, x, mask)
        whole = run_block(block, whole, mask) if earlier else x
    return torch.stack([x, run_block(blocks[layer], whole, mask)])


def _fit(stand_in: SkipAdapter, pairs: Iterator[Tensor]) -> None:
    """Give a fresh stand-in the linear map from x nearest to y, over all pairs (2, n, width)."""
    width = stand_in.ln.normalized_shape[0]
    rank = min(stand_in.down.out_features // 2, width)
    torch.nn.init.zeros_(stand_in.up.weight)  # With A at zero, `stand_in(x)` below is the part outside A.
    torch.nn.init.zeros_(stand_in.up.bias)
    count = 0
    sums = torch.zeros(2, width, dtype=torch.float64)
    squares, products = torch.zeros(2, width, width, dtype=torch.float64)
    for x, y in pairs:
        h, t = F.layer_norm(x.float(), (width,)).double().cpu(), (y - stand_in(x)).double().cpu()
        count += len(h)
        sums += torch.stack([h.sum(dim=0), t.sum(dim=0)])
        squares += h.T @ h
        products += h.T @ t
    h_mean, t_mean = sums / count
    squares -= count * torch.outer(h_mean, h_mean)
    products -= count * torch.outer(h_mean, t_mean)
    ridge = squares + RIDGE * count * torch.eye(width, dtype=torch.float64)
    full_map = torch.linalg.solve(ridge, products)  # (width, width)
    # Principal directions of the fitted values, the largest last.
    _, directions = torch.linalg.eigh(full_map.T @ squares @ full_map)
    v = directions[:, width - rank :]  # (width, r)
    inner = (full_map @ v).T  # (r, width)
    stand_in.down.weight.zero_()
    stand_in.down.weight[: 2 * rank] = torch.cat([inner, -inner]).to(stand_in.down.weight)
    stand_in.up.weight[:, : 2 * rank] = (torch.cat([v, -v], dim=1) / stand_in.scale).to(stand_in.up.weight)
    stand_in.up.bias.copy_((t_mean - h_mean @ full_map @ v @ v.T) / stand_in.scale)

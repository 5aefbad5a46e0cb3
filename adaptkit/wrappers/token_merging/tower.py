"""What merges or prunes the rows of an image tower between a block's attention and its MLP.

Which rows go is found without gradients; the averages that they become have them.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from adaptkit.towers.shortening import Rows, rows_at
from adaptkit.wrappers.token_merging.matching import bipartite_soft_matching, fold_matching, merge, merge_weighted
from adaptkit.wrappers.token_merging.pruning import attention_criterion, keep_beside

Average = Literal["sized", "plain"]


@dataclass
class Merging:
    """Bipartite soft matching by the mean over heads of the block's keys."""

    counts: tuple[int, ...]  # rows that each block is to remove
    protected: int  # class and register tokens in front
    average: Average
    proportional: bool
    active: bool = True

    def __call__(self, layer: int, rows: Rows, q: Tensor, k: Tensor) -> Rows:
        r = rows.x.shape[1] - self.left(layer, rows.x.shape[1])
        if r == 0:
            return rows
        matching = bipartite_soft_matching(k.detach().mean(dim=1), r, self.protected)
        x, sizes = merge_weighted(matching, rows.x, rows.sizes)
        if self.average == "plain":
            x = merge(matching, rows.x)
        return Rows(x, sizes, (*rows.steps, matching))

    def left(self, layer: int, n: int) -> int:
        return n - min(self.counts[layer], (n - self.protected) // 2)


@dataclass(frozen=True)
class Stage:
    """A stage of pruning: what it finds and what it keeps."""

    block: int  # the block at which it is due, or the next that attends
    patches: int  # patches in front of it
    best: int  # patches that it keeps for their attention
    always: Tensor  # (G,) int64, positions of the patches that it keeps in any case

    @property
    def left(self) -> int:
        """Patches behind it."""
        return min(self.best + len(self.always), self.patches)


@dataclass
class Pruning:
    """Patches are kept by the attention that the class token, or where there is none all patches, pay them."""

    stages: tuple[Stage, ...]
    protected: int  # class and register tokens in front
    has_class_token: bool
    folds: bool  # whether a dropped patch merges into the most similar one that is kept
    proportional: bool
    active: bool = True

    def __call__(self, layer: int, rows: Rows, q: Tensor, k: Tensor) -> Rows:
        stage = self._stage(layer, rows.x.shape[1])
        if stage is None:
            return rows
        with torch.no_grad():
            asking = q[:, :, :1] if self.has_class_token else q[:, :, self.protected :]
            criterion = attention_criterion(asking, k[:, :, self.protected :])
            best = keep_beside(criterion, stage.best, stage.always.to(k.device))
            front = torch.arange(self.protected, device=k.device).expand(best.shape[0], -1)
            kept = torch.cat([front, self.protected + best], dim=1)
            matching = fold_matching(k.mean(dim=1), kept, self.protected)
        steps = (*rows.steps, matching)
        if self.folds:
            return Rows(*merge_weighted(matching, rows.x, rows.sizes), steps)
        return replace(rows, x=rows_at(rows.x, kept), steps=steps)

    def left(self, layer: int, n: int) -> int:
        stage = self._stage(layer, n)
        return n if stage is None else self.protected + stage.left

    def _stage(self, layer: int, n: int) -> Stage | None:
        """The stage that is due behind the attention of a block with n rows."""
        patches = n - self.protected
        return next((stage for stage in self.stages if stage.block <= layer and stage.patches == patches), None)

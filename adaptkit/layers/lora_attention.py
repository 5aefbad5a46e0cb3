"""A frozen attention layer with low-rank updates beside its projections (Hu et al., arXiv:2106.09685).

    y = W x + b + s B A drop(x)
Dropout acts on the update's input only. After merging, the layer computes (W + s B A) x + b with copies of W.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.towers import attention
from adaptkit.towers.attention import AttentionLayer
from adaptkit.towers.linears import linear
from adaptkit.towers.watch import Watch


class LowRank(nn.Module):
    """A low-rank update, x (..., width) -> s B A drop(x) (..., out_width); it starts at 0, because B does.

    Args:
        r: rank of the update.
        scale: the factor s.
        dropout: share of the input that is dropped in training.
        detached: if True, gradients reach the layers below through the frozen projection only.
        out_width: width of the output; None for that of the input.
    """

    def __init__(
        self,
        width: int,
        r: int,
        scale: float,
        dropout: float,
        device: torch.device,
        *,
        detached: bool = False,
        out_width: int | None = None,
    ):
        super().__init__()
        self.A = nn.Parameter(torch.empty(r, width, device=device))
        self.B = nn.Parameter(torch.zeros(out_width or width, r, device=device))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.scale, self.detached = scale, detached
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach() if self.detached else x
        return self.scale * F.linear(F.linear(self.dropout(x), self.A.to(x.dtype)), self.B.to(x.dtype))

    def start_values(self) -> dict[str, Tensor]:
        """The update of 0 beside which lies that of now: A as it is, B = 0, so that a line is one of s B A."""
        return {"A": self.A.detach().clone(), "B": torch.zeros_like(self.B)}

    def delta(self) -> Tensor:
        """The product s B A, (out_width, width)."""
        return self.scale * (self.B @ self.A)


class LoRAAttention(nn.Module):
    """A frozen attention layer with low-rank updates, for the functions of `adaptkit.towers.attention`.

    Args:
        frozen: the layer, which stays as it is.
        updates: a `LowRank` for some of "q", "k", "v" and "o".
        soft_cap: scores a become soft_cap * tanh(a / soft_cap); None leaves them as the frozen layer has them.
    """

    def __init__(self, frozen: AttentionLayer, updates: nn.ModuleDict, soft_cap: float | None = None):
        super().__init__()
        self.frozen, self.updates, self.num_heads = frozen, updates, frozen.num_heads
        self.out_proj = (
            LoRAOutput(frozen.out_proj, self.update("o")) if "o" in updates else FrozenOutput(frozen.out_proj)
        )
        for part in attention.OPTIONAL_PARTS:
            setattr(self, part, getattr(frozen, part, None) if part != "soft_cap" or soft_cap is None else soft_cap)
        self.merged: Tensor | None = None  # Weights (3 * width, width) that replace the frozen ones.
        self.watch = Watch([frozen] if isinstance(frozen, nn.Module) else [])

    def update(self, projection: str) -> LowRank:
        """The update of a projection; "q", "k", "v" and "o" may have one."""
        update = self.updates[projection]
        assert isinstance(update, LowRank)
        return update

    def project_qkv(self, x: Tensor) -> Tensor:
        """Queries, keys and values of x (..., width) side by side: (..., 3 * width)."""
        if self.merged is not None:
            self._merge_again_if_changed()
            return linear(x, self.merged, self.frozen.in_proj_bias)
        return self._updated(x, attention.project_qkv(self.frozen, x), "qkv")

    def project_q(self, x: Tensor) -> Tensor:
        """Queries of x (..., width): (..., width)."""
        if self.merged is not None:
            return self.project_qkv(x)[..., : x.shape[-1]]
        return self._updated(x, attention.project_q(self.frozen, x), "q")

    def project_kv(self, x: Tensor) -> Tensor:
        """Keys and values of x (..., width) side by side: (..., 2 * width)."""
        if self.merged is not None:
            return self.project_qkv(x)[..., x.shape[-1] :]
        return self._updated(x, attention.project_kv(self.frozen, x), "kv")

    def _updated(self, x: Tensor, projected: Tensor, names: str) -> Tensor:
        """Projections of x by the frozen layer, plus the updates of the named projections."""
        parts = zip(names, projected.split(x.shape[-1], dim=-1), strict=True)
        return torch.cat([y + self.update(name)(x) if name in self.updates else y for name, y in parts], dim=-1)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """Merged weights W + s B A of queries, keys and values: (3 * width, width)."""
        weight = self.frozen.in_proj_weight.clone()
        for name, rows in zip("qkv", weight.chunk(3), strict=True):
            if name in self.updates:
                rows += self.update(name).delta().to(rows.dtype)
        return weight

    def merge(self) -> None:
        """Compute with W + s B A, without dropout, until `unmerge`; later changes of A and B are not seen."""
        self.merged = self.merged_weight()
        if isinstance(self.out_proj, LoRAOutput):
            self.out_proj.merged = self.out_proj.merged_weight()

    def _merge_again_if_changed(self) -> None:
        if self.watch.changed():
            self.merge()

    def unmerge(self) -> None:
        """Compute with the frozen weights and the updates again."""
        self.merged = None
        if isinstance(self.out_proj, LoRAOutput):
            self.out_proj.merged = None

    @torch.no_grad()
    def write_into(self, attn: AttentionLayer) -> None:
        """Write W + s B A over the weights of another layer."""
        for (weight, _), merged in zip(attention.projections(attn), self.merged_weight().chunk(3), strict=True):
            weight.copy_(merged)
        if isinstance(self.out_proj, LoRAOutput):
            attn.out_proj.weight.copy_(self.out_proj.merged_weight())


class FrozenOutput(nn.Module):
    """The frozen output projection of an attention layer, which has its weights from there in every call."""

    def __init__(self, frozen: nn.Linear):
        super().__init__()
        self.frozen = frozen

    @property
    def weight(self) -> Tensor:
        return self.frozen.weight

    @property
    def bias(self) -> Tensor | None:
        return self.frozen.bias

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.frozen.weight, self.frozen.bias)


class LoRAOutput(nn.Module):
    """The frozen output projection of an attention layer with a low-rank update."""

    def __init__(self, frozen: nn.Linear, update: LowRank):
        super().__init__()
        self.frozen, self.update = frozen, update
        self.merged: Tensor | None = None  # Weight (width, width) that replaces the frozen one.

    def forward(self, x: Tensor) -> Tensor:
        if self.merged is not None:
            return linear(x, self.merged, self.frozen.bias)
        return linear(x, self.frozen.weight, self.frozen.bias) + self.update(x)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """Merged weight W + s B A: (width, width)."""
        return self.frozen.weight + self.update.delta().to(self.frozen.weight.dtype)

"""Pools of vision towers that do not take the class token's row.

Letters: B images, R rows of the tower, P patches, D_v its width, D_p width of what is pooled.
"""

from torch import Tensor, nn


class PatchMean(nn.Module):
    """The mean of the patches: rows (B, R, D_v) -> (B, D_v).

    Args:
        n_prefix: number of class and register tokens in front of the patches, which are left out.
    """

    def __init__(self, n_prefix: int):
        super().__init__()
        self.n_prefix = n_prefix

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.n_prefix :].mean(dim=1)

    def alone(self, x: Tensor) -> Tensor:
        """Each row pooled alone, which is the row itself: (B, P, D_v) -> (B, P, D_v)."""
        return x


class AttentionPool(nn.Module):
    """Learnt queries that attend to all rows, of which the first gives the result: (B, R, D_v) -> (B, D_p).

    Args:
        pool: open_clip's or timm's pool.
        width: width D_p of its output.
        n_left_out: number of rows at the front that it does not see.
    """

    def __init__(self, pool: nn.Module, width: int, n_left_out: int = 0):
        super().__init__()
        self.pool, self.width, self.n_left_out = pool, width, n_left_out

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x[:, self.n_left_out :])  # (B, D_p), or (B, queries, D_p)
        return pooled[:, 0] if pooled.ndim == 3 else pooled

    def alone(self, x: Tensor) -> Tensor:
        """Each row pooled as if there were no other: (B, P, D_v) -> (B, P, D_p)."""
        pooled = self.pool(x.reshape(-1, 1, x.shape[-1]))
        return (pooled[:, 0] if pooled.ndim == 3 else pooled).unflatten(0, x.shape[:2])

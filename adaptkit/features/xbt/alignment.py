"""Training-free ways from one space of unit features into another, fitted on rows that both models have encoded.

With rows A (N, d_n) of the new model and B (N, d_o) of the old one, of the same texts or images:
    least squares   min_W |A W - B|^2
    Procrustes      R = P Q^T,  A^T B = P S Q^T (SVD): the orthogonal map with the smallest |A R - B|
Where the widths differ, Procrustes pads the narrower rows with zeros and cuts the square map that it finds. A narrower
new space then goes into the old one without any change of its cosines. SLERP is no map: it goes a part of the way from
the old model's own query u to the mapped query v of the new one on the sphere, and needs both models at every search:
    slerp(u, v; a) = [sin((1 - a) w) u + sin(a w) v] / sin w,   w = arccos <u, v>
They are the baselines of XBT (Jang and Lim, arXiv:2405.14715), and its projection starts at one of the first two.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PARALLEL = 1e-6  # sin w below which two directions are one, or opposite


def unit(rows: Tensor) -> Tensor:
    """Rows (..., D) of any length -> of length 1, in single precision at least."""
    return F.normalize(rows if rows.dtype == torch.float64 else rows.float(), dim=-1)


def zero_padded(rows: Tensor, width: int) -> Tensor:
    """Rows (N, D) -> (N, width), zeros behind; rows that are as wide stay as they are.

    Raises:
        ValueError: if they are wider.
    """
    if rows.shape[-1] > width:
        raise ValueError(f"rows of width {rows.shape[-1]} cannot be padded to {width}; pad the narrower ones")
    return F.pad(rows, (0, width - rows.shape[-1]))


def least_squares(new: Tensor, old: Tensor) -> Tensor:
    """The matrix W (d_n, d_o) with the smallest |A W - B|, and of several the smallest itself.

    Args:
        new: rows A (N, d_n).
        old: rows B (N, d_o) of the same texts or images.

    Raises:
        ValueError: if they are no pairs of rows, or hold numbers that are not finite.

    Example:
        ```python
        import torch
        from adaptkit.features.xbt import least_squares

        new = torch.randn(100, 8)
        assert torch.allclose(least_squares(new, 2 * new), 2 * torch.eye(8), atol=1e-4)
        ```
    """
    _check(new, old)
    found = torch.linalg.lstsq(new.double().cpu(), old.double().cpu(), driver="gelsd").solution
    return found.to(new.device, torch.float32)


def procrustes(new: Tensor, old: Tensor) -> Tensor:
    """The orthogonal map R (d_n, d_o) with the smallest |A R - B|; rows or columns of one where widths differ.

    Args:
        new: rows A (N, d_n).
        old: rows B (N, d_o) of the same texts or images.

    Raises:
        ValueError: if they are no pairs of rows, or hold numbers that are not finite.

    Example:
        ```python
        import torch
        from adaptkit.features.xbt import procrustes

        new = torch.randn(100, 8)
        rotation = torch.linalg.qr(torch.randn(8, 8)).Q
        assert torch.allclose(procrustes(new, new @ rotation), rotation, atol=1e-4)
        ```
    """
    _check(new, old)
    width = max(new.shape[1], old.shape[1])
    left, _, right = torch.linalg.svd(zero_padded(new, width).double().T @ zero_padded(old, width).double())
    return (left @ right)[: new.shape[1], : old.shape[1]].to(torch.float32)


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Unit rows (B, D) a share of the way from unit rows `start` (B, D) to `end` (B, D) along the sphere.

    Between opposite rows there is no one way; a straight line through the middle stands in for it.

    Args:
        share: 0 gives `start` and 1 `end`.

    Raises:
        ValueError: if the share is not from 0 to 1, or the shapes differ.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share}; expected 0 (the old query) to 1 (the mapped new one)")
    if start.shape != end.shape:
        raise ValueError(f"{tuple(start.shape)} and {tuple(end.shape)}; expected the same queries in the same space")
    start, end = unit(start), unit(end)
    angle = (start * end).sum(dim=-1, keepdim=True).clamp(-1, 1).arccos()
    sine = angle.sin()
    is_line = sine < PARALLEL
    safe = torch.where(is_line, torch.ones_like(sine), sine)
    arc = (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / safe
    return unit(torch.where(is_line, (1 - share) * start + share * end, arc))


def _check(new: Tensor, old: Tensor) -> None:
    if new.ndim != 2 or old.ndim != 2 or len(new) != len(old) or not len(new):
        raise ValueError(
            f"rows of shapes {tuple(new.shape)} and {tuple(old.shape)}; expected (N, d_n) of the new model and "
            "(N, d_o) of the old one, of the same N texts or images"
        )
    if not (new.isfinite().all() and old.isfinite().all()):
        raise ValueError("the rows hold numbers that are not finite; check the models that encoded them")

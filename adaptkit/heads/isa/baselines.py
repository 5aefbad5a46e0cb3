"""Queries of an image and a text that need no training: either alone, their sum, and the arc between them."""

import torch
import torch.nn.functional as F
from torch import Tensor

NEARLY = 1e-6  # angles below this, in radians, are joined by a line


def image_only(images: Tensor, texts: Tensor) -> Tensor:
    """Image features (B, D) -> unit queries (B, D) that ignore the texts."""
    return F.normalize(images, dim=-1)


def text_only(images: Tensor, texts: Tensor) -> Tensor:
    """Text features (B, D) -> unit queries (B, D) that ignore the images."""
    return F.normalize(texts, dim=-1)


def summed(images: Tensor, texts: Tensor) -> Tensor:
    """Image and text features (B, D) -> unit queries n(n(image) + n(text)), (B, D)."""
    return F.normalize(F.normalize(images, dim=-1) + F.normalize(texts, dim=-1), dim=-1)


def slerp(images: Tensor, texts: Tensor, at: float = 0.5) -> Tensor:
    """Image and text features (B, D) -> unit queries (B, D) on the arc from the image (0) to the text (1).

    In the middle the direction is that of `summed`. Where both point in opposite directions there is no one arc, and
    the result has no meaning.

    Example:
        ```python
        from adaptkit.heads.isa import slerp

        image, text = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        torch.testing.assert_close(slerp(image, text, 0.5), torch.tensor([[0.5, 0.5]]).sqrt())
        ```
    """
    u, v = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    angle = (u * v).sum(dim=-1, keepdim=True).clamp(-1, 1).arccos()  # (B, 1)
    sine = angle.sin().clamp_min(NEARLY)
    on_arc = ((1 - at) * angle).sin() / sine * u + (at * angle).sin() / sine * v
    return F.normalize(torch.where(angle < NEARLY, (1 - at) * u + at * v, on_arc), dim=-1)

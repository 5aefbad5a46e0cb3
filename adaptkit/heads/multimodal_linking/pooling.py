"""One vector of a record from the vectors of its image and of its text.

Arora et al., "Linking Representations with Multimodal Contrastive Learning", arXiv:2304.03464, and its released code
(dell-research-harvard/clippings 16e3cd0), where n brings to unit length:
    e(x, y) = n(w n(f(x)) + (1 - w) n(g(y)))

Departure: the paper's records all have both; here w is 0 for a record without an image, and 1 for one without a text.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.heads.multimodal_linking.records import RecordFeatures
from adaptkit.layers.full_precision import at_least_fp32

RELEASED_WEIGHT = 0.3  # the default of the released script; its examples have 0.5


def unit(x: Tensor) -> Tensor:
    """Rows (..., D) at length 1."""
    return F.normalize(x, dim=-1)


def weights_of(records: RecordFeatures, weight: Tensor | float) -> Tensor:
    """The weight of each image (N, 1): what is given, one for all or (N,), and 0 or 1 where something is missing."""
    given = torch.as_tensor(weight, dtype=at_least_fp32(records.image).dtype, device=records.image.device)
    every = given.expand(len(records))
    every = torch.where(records.has_text, every, torch.ones_like(every))
    return torch.where(records.has_image, every, torch.zeros_like(every))[:, None]


def pooled(records: RecordFeatures, weight: Tensor | float = 0.5) -> Tensor:
    """Records -> unit vectors (N, D).

    Args:
        weight: w of the image, from 0, the text alone, to 1, the image alone; or (N,), one for each record.

    Source: arXiv:2304.03464, with the normalisations of the released code.

    Example:
        ```python
        import torch

        from adaptkit.heads.multimodal_linking import pooled, records_of

        vectors = pooled(records_of(torch.randn(3, 8), torch.randn(3, 8)), weight=0.3)
        assert torch.allclose(vectors.norm(dim=1), torch.ones(3))
        ```
    """
    image, text = unit(at_least_fp32(records.image)), unit(at_least_fp32(records.text))
    w = weights_of(records, weight)
    # A sum with a weight of 0 would let a row that is not a number through.
    zero = torch.zeros_like(image)
    return unit(torch.where(w > 0, w * image, zero) + torch.where(w < 1, (1 - w) * text, zero))

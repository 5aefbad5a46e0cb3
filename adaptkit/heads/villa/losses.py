"""The losses of ViLLA's two stages, on cosines and features.

Stage 1, images b that list attributes a, with regions r, y[b, a] = 1 if b lists a, and n_pos(a) images that do:
    s[b, a] = max_r cos[r, a] / tau                               or tau' log sum_r exp(cos[r, a] / tau') / tau
    L1 = - 1 / (sum y) sum_{y[b, a] = 1} log exp s[b, a] / (exp s[b, a] + sum_{b': y[b', a] = 0} exp s[b', a])
The released code (StanfordMIMI/villa 9b29196) has n_pos(a) in the denominator, too: it masks by multiplication, and
exp(0) of each image with the attribute stays. `strict=False` keeps that.

Stage 2, unit features I of regions and T of their texts, pair by pair:
    L2 = lambda CE(I T^T / tau, diag) + (1 - lambda) CE(T I^T / tau, diag)
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.layers.contrastive import other_pairs_of_group

Pooling = Literal["max", "logsumexp"]
TAU = 0.07


def by_image(rows: Tensor, counts: Tensor, fill: float) -> Tensor:
    """Rows (R_1 + ... + R_B, A) of images with counts (B,) of regions -> (B, max R_b, A), filled up behind each.

    Raises:
        ValueError: if the counts are not of these rows, or an image has no region.
    """
    if int(counts.sum()) != len(rows) or not len(counts) or int(counts.min()) < 1:
        raise ValueError(
            f"{len(rows)} regions, and counts of regions that are {counts.tolist()[:8]}, ...; expected one count for "
            "each image, each 1 or more, whose sum is the number of regions"
        )
    return torch.nn.utils.rnn.pad_sequence(rows.split(counts.tolist()), batch_first=True, padding_value=fill)


def pooled_cosines(cosines: Tensor, counts: Tensor, pooling: Pooling = "max", temperature: float = 0.1) -> Tensor:
    """Cosines (R_1 + ... + R_B, A) of regions -> those of images (B, A).

    The maximum lets the winning region alone learn; log-sum-exp lets all learn, the nearer ones more.

    Args:
        counts: (B,) regions of each image.
        temperature: of log-sum-exp.

    Raises:
        ValueError: if the counts are not of these rows.
    """
    of_images = by_image(cosines, counts, -torch.inf)
    if pooling == "max":
        return of_images.max(dim=1).values
    return temperature * (of_images / temperature).logsumexp(dim=1)


def mapping_loss(scores: Tensor, labels: Tensor, strict: bool = True, synonyms: Tensor | None = None) -> Tensor:
    """L1 of image scores s = pooled cosines / tau.

    Attributes that no image of the batch lists give nothing.

    Args:
        scores: (B, A).
        labels: (B, A), 1 or True where an image lists an attribute.
        strict: without n_pos(a) in the denominator; False is as released.
        synonyms: (A, A) bool, true between attributes that mean the same: an image that lists a synonym of a is no
            negative of a.

    Raises:
        ValueError: if the shapes differ, or no image lists any attribute.

    Example:
        ```python
        from adaptkit.heads.villa import mapping_loss

        loss = mapping_loss(torch.tensor([[9.0], [1.0]]), torch.tensor([[1], [0]]))
        ```
    """
    if scores.shape != labels.shape or scores.ndim != 2:
        raise ValueError(f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)}; expected (B, A) of both")
    positive = labels.to(scores.device).bool()
    if not positive.any():
        raise ValueError("no image of the batch lists any attribute, so nothing is learnt from it; leave it out")
    negative = ~positive
    if synonyms is not None:
        negative &= (positive.float() @ synonyms.to(scores.device).float()) == 0
    others = scores.masked_fill(~negative, -torch.inf).logsumexp(dim=0)  # (A,), -inf where every image has a
    if not strict:
        others = torch.logaddexp(others, positive.sum(dim=0).to(scores).log())
    picked = scores[positive]
    return F.softplus(others.expand_as(scores)[positive] - picked).mean()


def synonym_matrix(attributes: tuple[str, ...], groups: tuple[tuple[str, ...], ...]) -> Tensor:
    """(A, A) bool: which attributes stand in one group of words that mean the same.

    Raises:
        ValueError: if a group has a word that is no attribute.
    """
    places = {name: place for place, name in enumerate(attributes)}
    matrix = torch.eye(len(attributes), dtype=torch.bool)
    for group in groups:
        unknown = [word for word in group if word not in places]
        if unknown:
            raise ValueError(f"synonyms has {unknown[0]!r}, which is no attribute; give words from attributes alone")
        own = torch.tensor([places[word] for word in group])
        matrix[own[:, None], own] = True
    return matrix


def region_text_loss(
    regions: Tensor, texts: Tensor, temperature: float = TAU, lambd: float = 0.5, groups: Tensor | None = None
) -> Tensor:
    """L2 of unit rows (N, D), pair by pair.

    Args:
        lambd: weight of the way from regions to texts.
        groups: (N,) int64; pairs of one group, such as regions of equal texts, are no negatives of each other. None
            takes all other pairs as negatives, as released.

    Raises:
        ValueError: if they are not pairs.
    """
    if regions.shape != texts.shape or regions.ndim != 2:
        raise ValueError(f"regions {tuple(regions.shape)} and texts {tuple(texts.shape)}; expected (N, D) of both")
    logits = regions @ texts.T / temperature  # (N, N)
    if groups is not None:
        logits = logits.masked_fill(other_pairs_of_group(groups), -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    return lambd * F.cross_entropy(logits, own) + (1 - lambd) * F.cross_entropy(logits.T, own)

"""CaSED's scores: which candidate word fits an image and the captions that were found for it.

Conti et al., "Vocabulary-free Image Classification", NeurIPS 2023, arXiv:2306.00917. With unit features z of an image,
w_j of its words and t of its captions, and CLIP's scale s:

    t     = n( mean over the kept captions of n(g(caption)) )
    p_img = softmax_j( s <z, w_j> / tau ),   p_txt = softmax_j( s <t, w_j> / tau_txt )
    p     = alpha p_img + (1 - alpha) p_txt

The softmax is over an image's own words; those of the other images of a batch have probability 0 exactly.

Departure: tau_txt is a temperature of its own, because texts are nearer to each other than to images. It is tau unless
it is set, as in the released code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Probabilities (B, W) over the words of all images of a batch, and each image's best word."""

    p_image: Tensor
    p_text: Tensor
    p: Tensor

    @property
    def predictions(self) -> Tensor:
        """Places (B,) of the most probable words."""
        return self.p.argmax(dim=-1)


def deduplicate(features: Tensor, threshold: float = 0.94) -> Tensor:
    """Places, in order, of captions (K, D) without near-duplicates.

    Two captions with an inner product of more than the threshold are duplicates, and so are all that a chain of
    duplicates connects. The first of them stays, so hand them over with the best first.
    """
    alike = (features @ features.T > threshold).cpu()  # (K, K)
    first = torch.arange(len(features))  # the lowest place that is known to be connected with each
    for _ in range(len(features)):
        lowest = torch.where(alike, first[None, :], len(features)).amin(dim=1).minimum(first)
        if torch.equal(lowest, first):
            break
        first = lowest
    return (first == torch.arange(len(features))).nonzero()[:, 0]


def caption_centroid(caption_features: Tensor) -> Tensor:
    """Features (K, D) of one image's kept captions, of any length -> their unit centroid (D,)."""
    return F.normalize(F.normalize(caption_features, dim=-1).mean(dim=0), dim=-1)


def caption_centroids(caption_features: Tensor, captions_per_image: Sequence[int]) -> Tensor:
    """Features (sum of K, D) of kept captions, image after image -> unit centroids (B, D)."""
    return torch.stack([caption_centroid(own) for own in caption_features.split(list(captions_per_image))])


def word_probabilities(features: Tensor, word_features: Tensor, owners: Tensor, scale: Tensor | float) -> Tensor:
    """Features (B, D) against words (W, D) -> probabilities (B, W); each image's own words sum to 1.

    Args:
        owners: (W,) the image whose word each is.
        scale: factor of the cosines, the temperature included.
    """
    logits = scale * (F.normalize(features, dim=-1) @ F.normalize(word_features, dim=-1).T)
    foreign = owners[None, :] != torch.arange(len(features), device=owners.device)[:, None]  # (B, W)
    return logits.masked_fill(foreign, -torch.inf).softmax(dim=-1)


def score(
    image_features: Tensor,
    caption_features: Tensor,
    captions_per_image: Sequence[int],
    word_features: Tensor,
    words_per_image: Sequence[int],
    logit_scale: Tensor,
    *,
    alpha: float = 0.7,
    tau: float = 1.0,
    tau_txt: float | None = None,
) -> Scores:
    """Score the candidate words of a batch of images.

    Args:
        image_features: (B, D), of any length, as all features here.
        caption_features: (sum of K, D), the kept captions, image after image.
        word_features: (W, D), the candidate words, image after image; every image has one at least.
        logit_scale: CLIP's log value.
        alpha: weight of the image's probabilities against the captions'.
        tau: temperature of the image's probabilities, and of the captions' where `tau_txt` is None.

    Raises:
        ValueError: if the counts do not fit the features, or an image has no caption or no word.
    """
    for what, counts, features in (
        ("captions", captions_per_image, caption_features),
        ("words", words_per_image, word_features),
    ):
        if len(counts) != len(image_features) or min(counts, default=1) < 1 or sum(counts) != len(features):
            raise ValueError(
                f"{what} per image are {list(counts)} for {len(image_features)} images and {len(features)} {what}; "
                "expected one or more of each image, and all of them in the sum"
            )
    owners = torch.arange(len(image_features)).repeat_interleave(torch.tensor(list(words_per_image)))
    owners = owners.to(image_features.device)
    scale = logit_scale.exp()
    p_image = word_probabilities(image_features, word_features, owners, scale / tau)
    centroids = caption_centroids(caption_features, captions_per_image)
    p_text = word_probabilities(centroids, word_features, owners, scale / (tau if tau_txt is None else tau_txt))
    return Scores(p_image, p_text, alpha * p_image + (1 - alpha) * p_text)

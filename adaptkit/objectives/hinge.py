"""Hinge: max-margin ranking of images by text and of texts by image, for tuning on image-text pairs.

An early seed project, "Deep Learning Applied to Image and Text Matching", of which only the abstract could be read, and
the losses of VSE++ (Faghri et al., arXiv:1707.05612, equations 3 and 5). For unit features a, b (B, D), S = a b^T:
    L = w_it hinge over texts of an image (S_i1, ..., S_iB)  +  w_ti hinge over images of a text (S_1i, ..., S_Bi)
`layers.ranking.hinge` has the three ways to choose negatives. One weight alone trains one direction.

Departure: the mean is taken over the negatives that break the margin; `reduction="sum"` sums them and divides by B.
Departure: cosines of a CLIP lie close together, so smaller margins than 0.2 are worth a try.
Departure: the hardest negative of a batch misleads a cold start, so `mining="max"` sums in its first epochs.
Departure: a queue of earlier batches may give more negatives (He et al., arXiv:1911.05722, have it of a slow encoder;
    here it holds the features as they were, so it should be short where towers learn).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.objective import Objective
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.contract.registry import register_objective
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.ranking import Mining, Reduction, hinge
from adaptkit.options import option, options

NOBODY = -1  # group of a place in the queue that is still empty


@options
class HingeConfig:
    margin: float = option(0.2, "By how much the own partner is to be nearer, in cosines.", least=0)
    mining: Mining = option(
        "sum", "Negatives that count: all of the batch, the hardest, or those that are farther than the own partner."
    )
    reduction: Reduction = option("mean", "The mean over negatives that break the margin, or their sum over pairs.")
    image_to_text: float = option(1.0, "Weight of ranking the texts of an image; its negatives are texts.", least=0)
    text_to_image: float = option(1.0, "Weight of ranking the images of a text; its negatives are images.", least=0)
    sum_epochs: int = option(1, "First epochs in which max mining sums over all negatives.", least=0)
    queue: int = option(0, "Pairs of earlier batches that are negatives, too; 0 for none.", least=0)


@register_objective("hinge", HingeConfig)
class Hinge(PairObjective):
    """Every image is to be nearer to its text than to other texts, and every text to its image."""

    epochs: Tensor
    queued_images: Tensor
    queued_texts: Tensor
    queued_groups: Tensor

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: HingeConfig):
        if not config.image_to_text and not config.text_to_image:
            raise ValueError("image_to_text and text_to_image are both 0, so nothing is ranked; raise one of them")
        super().__init__(method, inner)
        self.config = config
        rows = torch.zeros(config.queue, method.backbone.embed_dim, device=method.device)
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))
        self.register_buffer("queued_images", rows)
        self.register_buffer("queued_texts", rows.clone())
        self.register_buffer("queued_groups", torch.full((config.queue,), NOBODY, device=method.device))

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        images, texts = F.normalize(at_least_fp32(images), dim=-1), F.normalize(at_least_fp32(texts), dim=-1)
        own = (images * texts).sum(dim=1)  # (B,)
        known = torch.cat([groups, self.queued_groups])
        negatives = (groups[:, None] != known) & (known != NOBODY)  # (B, B + Q)
        config = self.config
        is_warming_up = config.mining == "max" and int(self.epochs) < config.sum_epochs
        mining = "sum" if is_warming_up else config.mining
        loss = images.new_zeros(())
        for weight, queries, candidates, earlier in (
            (config.image_to_text, images, texts, self.queued_texts),
            (config.text_to_image, texts, images, self.queued_images),
        ):
            if weight:
                similarity = queries @ torch.cat([candidates, earlier.to(candidates)]).T  # (B, B + Q)
                loss = loss + weight * hinge(similarity, own, negatives, config.margin, mining, config.reduction)
        if config.queue and torch.is_grad_enabled():
            self._remember(images.detach(), texts.detach(), groups)
        return loss

    def _remember(self, images: Tensor, texts: Tensor, groups: Tensor) -> None:
        """Put a batch in front of the queue."""
        queue = self.config.queue
        self.queued_images = torch.cat([images.to(self.queued_images), self.queued_images])[:queue]
        self.queued_texts = torch.cat([texts.to(self.queued_texts), self.queued_texts])[:queue]
        self.queued_groups = torch.cat([groups, self.queued_groups])[:queue]

    def after_epoch(self, epoch: int) -> None:
        super().after_epoch(epoch)
        self.epochs.fill_(epoch + 1)

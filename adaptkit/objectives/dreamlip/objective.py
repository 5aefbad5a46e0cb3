"""DreamLIP: tuning on pairs with long captions, by their sentences and the patches that each sentence describes.

Zheng et al., "DreamLIP: Language-Image Pre-training with Long Captions", arXiv:2403.17007; `losses` has the equations:
    L = L_clip + L_sub + weight L_group

Departure: the paper trains towers from scratch; here the losses adapt frozen ones through any method.
Departure: each text gathers patches of its own image, as the paper says; the released code mixes the images of a batch
    up, which `code_order` does again.
Departure: all pieces of text are drawn; the released code never reaches the last.
Departure: s_loc is a learnt number of its own from 1 / 0.07 on; the released model file has none.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.contract.adapted_towers import AdaptedTowers
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.objective import Objective
from adaptkit.contract.pair_objective import PairObjective
from adaptkit.contract.registry import register_objective
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.objectives.dreamlip.losses import Spread, circle_loss, grouping_loss, sub_caption_losses
from adaptkit.objectives.dreamlip.sub_captions import draw, merged, pieces_of
from adaptkit.options import option, options

MANY = 4  # texts of an image beyond which "auto" leaves them out of each other's negatives
LOCAL_SCALE = 1 / 0.07


@options
class DreamLIPConfig:
    texts: int = option(6, "Pieces of text that are drawn for each image, beside its caption.", least=0)
    merge: int = option(1, "Neighbouring pieces that are one text.", least=1)
    least_words: int = option(3, "Pieces with fewer words are left out where others are left.", least=1)
    grouping: float = option(1.0, "Weight of the loss of texts and their patches; 0 reads no patches.", least=0)
    delta: float = option(
        0.0, "Patches of less weight than this are left out; a negative one stands for 1 / P.", most=1
    )
    spread: Spread = option("minmax", "Weights of patches from 0 to 1 between least and most, or by softmax.")
    same_image: Literal["auto", "negatives", "ignore"] = option(
        "auto", "Whether texts of one image are negatives of each other in grouping; auto: not if they are more than 4."
    )
    code_order: bool = option(False, "Mix the images of a batch up in grouping, as the released code does.")
    circle: float = option(0.0, "Weight of the circle loss, in which all texts of an image are positives.", least=0)


@register_objective("dreamlip", DreamLIPConfig)
class DreamLIP(PairObjective):
    """An image is to find its caption and sentences of it, and each sentence the patches that it gathers."""

    scale: Tensor

    def __init__(self, method: AdaptedTowers, inner: Objective | None, config: DreamLIPConfig):
        super().__init__(method, inner)
        self.config = config
        self.writes_texts = config.texts > 0
        scale = method.backbone.logit_scale.detach()
        self.register_buffer("scale", scale.exp().clone(), persistent=False)
        local = torch.full_like(scale, math.log(LOCAL_SCALE))
        self.log_scale_local = nn.Parameter(local, requires_grad=config.grouping > 0)
        if config.grouping:
            method.backbone.require_vit_blocks("dreamlip with patches (grouping > 0)")

    def texts_of(
        self, captions: Sequence[str], drawn: int, fit: Callable[[str], str], seed: int
    ) -> Sequence[str | None]:
        config = self.config
        pieces = pieces_of(captions, config.least_words)
        if not pieces:
            return (fit(captions[drawn]), *[None] * config.texts)
        places = max(len(pieces) - config.merge + 1, 1)
        chosen = draw(places, config.texts, torch.Generator().manual_seed(seed))
        return (fit(captions[drawn]), *(fit(merged(pieces, place, config.merge)) for place in chosen))

    def image_input(self, method: AdaptedTowers, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> features (B, D), or projected rows (B, 1 + P, D), the class token's first."""
        if not self.config.grouping:
            return super().image_input(method, images)
        return method.backbone.project_tokens(method.backbone.encode_tokens(images))

    def image_side(self, method: AdaptedTowers, images: Tensor) -> Tensor:
        if not self.config.grouping:
            return super().image_side(method, images)
        if method.consumes == "features":
            rows = self.image_input(method, images) if images.ndim == 4 else images
            return method.image_features_of(rows)
        if images.ndim == 3:
            return images
        assert isinstance(method, AdaptedCLIP)
        return method.backbone.project_tokens(method.image_tokens(images))

    def between(self, images: Tensor, texts: Tensor, groups: Tensor) -> Tensor:
        config = self.config
        images, texts = F.normalize(at_least_fp32(images), dim=-1), F.normalize(at_least_fp32(texts), dim=-1)
        texts = texts[:, None] if texts.ndim == 2 else texts  # (B, n, D)
        pooled = images[:, 0] if images.ndim == 3 else images
        clip, sub = sub_caption_losses(pooled, texts, self.scale, groups)
        loss = clip + sub
        if config.grouping:
            loss = loss + config.grouping * self._grouping(texts, images[:, 1:], groups)
        if config.circle:
            loss = loss + config.circle * circle_loss(pooled, texts)
        return loss

    def _grouping(self, texts: Tensor, patches: Tensor, groups: Tensor) -> Tensor:
        config = self.config
        ignores = config.same_image == "ignore" or (config.same_image == "auto" and texts.shape[1] > MANY)
        return grouping_loss(
            texts,
            patches,
            self.log_scale_local.exp(),
            groups,
            delta=config.delta,
            spread=config.spread,
            same_image="ignore" if ignores else "negatives",
            code_order=config.code_order,
        )

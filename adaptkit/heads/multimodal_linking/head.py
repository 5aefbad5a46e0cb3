"""Multimodal linking: one vector of a record's image and text, learnt so that records of one thing lie together.

CLIPPINGS, Arora et al., "Linking Representations with Multimodal Contrastive Learning", arXiv:2304.03464, frozen:
    f' = n(P (n(f) + A_f(n(f)))),  g' = n(P (n(g) + A_g(n(g))))      A: residual bottlenecks that start at zero
    e = n(w f' + (1 - w) g'),      w = sigmoid(a), or sigmoid(MLP([f', g'])), or fixed
    learn:   supervised contrastive loss on e (losses.py), hard negatives met in the batch (mining.py)
    answer:  e; linked within a threshold (index.py), clustered by single linkage (clusters.py)
and, to rank the nearest records again, M3EL's matching of tokens, Hu et al., arXiv:2412.10440 (token_matcher.py).

Departure: the paper trains both towers; here they are frozen, and w, the bottlenecks and the map P learn.
Departure: a record may lack its image or its text, and in training one of both is dropped now and then.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.head import Answer, Head
from adaptkit.contract.registry import register_head
from adaptkit.heads.multimodal_linking.losses import margin_contrastive_loss, supcon_loss
from adaptkit.heads.multimodal_linking.pooling import pooled, unit
from adaptkit.heads.multimodal_linking.records import RecordFeatures, records_of
from adaptkit.heads.multimodal_linking.token_matcher import RecordTokens, TokenMatcher
from adaptkit.layers.bottleneck import Bottleneck
from adaptkit.layers.full_precision import at_least_fp32, run_as
from adaptkit.layers.image_texts import fit_texts
from adaptkit.options import option, options

NOT_TUNED = -1.0  # a distance is never below 0
NEAR_ONE = 1e-4  # how near a weight that learns may start to 0 and to 1, where its slope is 0


@options
class MultimodalLinkingConfig:
    """Options of the head."""

    weight: float = option(0.5, "Weight w of the image where it starts, or stays if it is fixed.", least=0, most=1)
    mixing: Literal["scalar", "gate", "fixed"] = option(
        "scalar", "What learns of w: one number, a small network that reads both features, or nothing."
    )
    adapters: bool = option(True, "A residual bottleneck on either side.")
    reduction: int = option(4, "The bottlenecks are D // reduction wide.", least=1)
    projection: bool = option(False, "A map P (D, D), shared by both sides, that starts as the identity.")
    objective: Literal["supcon", "contrastive"] = option(
        "supcon", "Supervised contrastive loss, or the contrastive loss with margins."
    )
    temperature: float = option(0.1, "Temperature of the supervised contrastive loss.", above=0)
    pos_margin: float = option(0.0, "Distance that records of a group may have for nothing.", least=0, most=2)
    neg_margin: float = option(0.5, "Distance beyond which records of two groups are far enough.", least=0, most=2)
    modality_dropout: float = option(
        0.1, "Probability that a record with both loses one of them in a training step.", least=0, most=1
    )
    tokens: bool = option(False, "A matcher of tokens ranks the nearest records again.")
    token_width: int = option(96, "Width of the matcher.", least=1)
    two_way: bool = option(False, "The matcher also looks for images' class tokens among words.")


@register_head("multimodal_linking", MultimodalLinkingConfig, touches="after")
class MultimodalLinking(Head):
    """Records -> unit vectors (N, D); of images alone, image features (B, D) -> unit vectors (B, D).

    Example:
        ```python
        import torch

        import adaptkit
        from adaptkit.heads.multimodal_linking import records_of

        backbone = adaptkit.load_backbone("adaptkit-mini")
        head = adaptkit.create_head("multimodal_linking", backbone, weight=0.3)
        texts = backbone.encode_text(["a red bell", "an open book"])
        vectors = head.vectors(records_of(torch.randn(2, backbone.embed_dim), texts))
        ```
    """

    consumes = "features"
    tuned_threshold: Tensor
    rerank_weight: Tensor

    def __init__(self, backbone: FrozenCLIP, config: MultimodalLinkingConfig):
        super().__init__(backbone)
        self.config = config
        width, device = backbone.embed_dim, backbone.device
        narrow = max(1, width // config.reduction)
        start = math.log((near := min(max(config.weight, NEAR_ONE), 1 - NEAR_ONE)) / (1 - near))
        self.mix = nn.Parameter(torch.tensor(start)) if config.mixing == "scalar" else None
        self.gate = _gate(width, narrow, start) if config.mixing == "gate" else None
        self.image_adapter = Bottleneck(width, narrow, device, "gelu") if config.adapters else None
        self.text_adapter = Bottleneck(width, narrow, device, "gelu") if config.adapters else None
        self.map = nn.Parameter(torch.eye(width)) if config.projection else None
        self.matcher = TokenMatcher(width, width, config.token_width, two_way=config.two_way) if config.tokens else None
        self.register_buffer("tuned_threshold", torch.tensor(NOT_TUNED))
        self.register_buffer("rerank_weight", torch.tensor(0.0))
        self.to(device)

    # Vectors

    def adapted(self, records: RecordFeatures) -> RecordFeatures:
        """The records with features that the bottlenecks and the map have changed, of unit length."""
        image = self._side(records.image, records.has_image, self.image_adapter)
        text = self._side(records.text, records.has_text, self.text_adapter)
        return RecordFeatures(image, text, records.has_image, records.has_text)

    def _side(self, features: Tensor, there: Tensor, adapter: nn.Module | None) -> Tensor:
        features = at_least_fp32(features)
        features = unit(torch.where(there[:, None], features, torch.zeros_like(features)))
        features = features if adapter is None else features + adapter(features)
        return unit(features if self.map is None else features @ self.map.to(features))

    def weight_of(self, adapted: RecordFeatures) -> Tensor:
        """The weight of the image of each record with both, a scalar or (N,)."""
        if self.mix is not None:
            return self.mix.to(adapted.image).sigmoid()
        if self.gate is not None:
            return run_as(self.gate, torch.cat([adapted.image, adapted.text], dim=1))[:, 0].sigmoid()
        return torch.tensor(self.config.weight, device=adapted.image.device)

    def vectors(self, records: RecordFeatures) -> Tensor:
        """Records -> unit vectors (N, D)."""
        adapted = self.adapted(records.to(self.device))
        return pooled(adapted, self.weight_of(adapted))

    def outputs(self, x: Tensor) -> Tensor:
        """Frozen image features (B, D) -> unit vectors (B, D) of records that are images alone."""
        return self.vectors(records_of(x, None))

    def described(self, outputs: Tensor) -> list[Answer]:
        """The vector of each image."""
        return [{"vector": row} for row in outputs.tolist()]

    @property
    def threshold(self) -> float | None:
        """The cosine distance up to which records are linked; None where none was tuned."""
        return None if (found := float(self.tuned_threshold)) < 0 else found

    def set_threshold(self, threshold: float) -> None:
        """Keep a threshold, which is saved with the head.

        Raises:
            ValueError: if it is no cosine distance.
        """
        if not 0 <= threshold <= 2:
            raise ValueError(f"threshold={threshold}; a cosine distance is from 0 to 2")
        self.tuned_threshold.fill_(threshold)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """N texts -> frozen features (N, D); one that is too long is cut at a clause or a word."""
        return self.backbone.encode_text(fit_texts(texts, self.backbone.tokenizer))

    # Tokens

    @torch.no_grad()
    def tokens_of(self, images: Tensor, texts: Sequence[str], has_image: Tensor, has_text: Tensor) -> RecordTokens:
        """Preprocessed images (N, 3, H, W) and N texts -> tokens of the frozen towers in the joint space.

        Args:
            has_image, has_text: (N,) bool; an image or a text that a record lacks may be anything, such as zeros or "".

        Raises:
            ValueError: if the image tower has no patches, or the text tower takes token ids only.
        """
        backbone = self.backbone
        rows = backbone.project_tokens(backbone.encode_tokens(images.to(self.device)))
        fitted = fit_texts([text or "a" for text in texts], backbone.tokenizer)
        words, real = backbone.encode_words(fitted)
        rows, words = at_least_fp32(rows), at_least_fp32(backbone.project_words(words))
        text_cls = at_least_fp32(backbone.encode_text(fitted))
        marks = (has_text.to(self.device), has_image.to(self.device))
        return RecordTokens(text_cls, words, rows[:, 0], rows[:, 1:], real.bool(), *marks)

    # Learning

    def records_loss(self, records: RecordFeatures, groups: Tensor) -> Tensor:
        """The loss of records with groups (N,): a scalar; in training mode modalities are dropped."""
        records = self.with_dropout(records.to(self.device)) if self.training else records
        vectors, groups = self.vectors(records), groups.to(self.device)
        if self.config.objective == "contrastive":
            return margin_contrastive_loss(vectors, groups, self.config.pos_margin, self.config.neg_margin)
        return supcon_loss(vectors, groups, self.config.temperature)

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """The loss of frozen image features (B, D) of records that are images alone, with groups (B,)."""
        return self.records_loss(records_of(x, None), targets)

    def with_dropout(self, records: RecordFeatures) -> RecordFeatures:
        """The records, of which some that have both lose their image or their text, drawn anew at every call."""
        both = records.has_image & records.has_text
        drawn = torch.rand(len(records), device=both.device) < self.config.modality_dropout
        image_goes = torch.rand(len(records), device=both.device) < 0.5
        lost = both & drawn
        return RecordFeatures(
            records.image,
            records.text,
            records.has_image & ~(lost & image_goes),
            records.has_text & ~(lost & ~image_goes),
        )

    def undecayed(self) -> set[str]:
        """The weight of images, which decay would draw to a half."""
        return {"mix"}

    def learnt_state(self) -> dict[str, Tensor]:
        """The parameters, the threshold and the weight of the matcher."""
        return self.training_state()

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self.load_training_state(state)


def _gate(width: int, hidden: int, start: float) -> nn.Sequential:
    """A network (N, 2 D) -> (N, 1) whose answer is `start` at first, whatever it reads."""
    last = nn.Linear(hidden, 1)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, start)
    return nn.Sequential(nn.Linear(2 * width, hidden), nn.GELU(), last)

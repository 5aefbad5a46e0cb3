"""CLOSE as a tagger: several words for an image, learnt from captions without an image.

Gu et al., arXiv:2211.09778, for the transfer (`adapters`). The tags of a caption are words in it (`training_texts`):
    learn:   loss(h(u~), tags of the caption)      binary cross-entropy, or the asymmetric loss
    answer:  sigmoid h(n(f(image)))
The asymmetric loss is of Ridnik et al., "Asymmetric Loss For Multi-Label Classification", arXiv:2009.14119: with
p = sigmoid(logit) and p_m = max(p - clip, 0),
    L = -(1 - p)^gamma_positive log p where a tag is there,  -(p_m)^gamma_negative log(1 - p_m) where it is not
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.head import Answer
from adaptkit.contract.registry import register_head
from adaptkit.heads.close.classifier import check_names
from adaptkit.heads.close.text_head import TextHead
from adaptkit.heads.close.transfer import TransferOptions
from adaptkit.options import option, options


@options
class CloseTaggerConfig(TransferOptions):
    """Options of the tagger."""

    tags: tuple[str, ...] = option(("photo", "drawing"), "Words that an image may get.", filled=True)
    hidden: int = option(0, "Width of a hidden layer; 0 for a linear head.", least=0)
    objective: Literal["binary", "asymmetric"] = option(
        "asymmetric", "Cross-entropy of every tag, or the asymmetric loss, which weakens easy tags that are not there."
    )
    gamma_positive: float = option(1.0, "Focus of the asymmetric loss on tags that are there.", least=0, most=100)
    gamma_negative: float = option(4.0, "Focus of the asymmetric loss on tags that are not.", least=0, most=100)
    clip: float = option(0.05, "Probability that the asymmetric loss forgives an absent tag.", least=0, below=1)
    threshold: float = option(0.5, "Probability from which an answer has a tag.", least=0, most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names("tags", self.tags)


def asymmetric_loss(
    logits: Tensor, targets: Tensor, gamma_positive: float = 1.0, gamma_negative: float = 4.0, clip: float = 0.05
) -> Tensor:
    """The asymmetric loss of logits and targets 0 or 1, both (B, T): the mean over images and tags."""
    p = logits.sigmoid()
    there = (1 - p) ** gamma_positive * F.logsigmoid(logits)
    forgiven = (p - clip).clamp_min(0)
    absent = forgiven**gamma_negative * (1 - forgiven).clamp_min(1e-8).log()
    return -(targets * there + (1 - targets) * absent).mean()


@register_head("close_tagger", CloseTaggerConfig, touches="after")
class CloseTagger(TextHead):
    """Frozen image features (B, D) -> logits (B, T) of the tags, learnt on text features."""

    def __init__(self, backbone: FrozenCLIP, config: CloseTaggerConfig):
        super().__init__(backbone, config, config.hidden, len(config.tags))
        self.config = config

    def loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits (B, T) and tags 0 or 1 (B, T)."""
        config = self.config
        if config.objective == "binary":
            return F.binary_cross_entropy_with_logits(logits, targets.to(logits))
        return asymmetric_loss(logits, targets.to(logits), config.gamma_positive, config.gamma_negative, config.clip)

    def described(self, outputs: Tensor) -> list[Answer]:
        """The tags from the threshold on with their probabilities, the most probable first."""
        found: list[Answer] = []
        for row in outputs.float().sigmoid().tolist():
            ranked = sorted(zip(self.config.tags, row, strict=True), key=lambda pair: -pair[1])
            found.append({"tags": {tag: value for tag, value in ranked if value >= self.config.threshold}})
        return found

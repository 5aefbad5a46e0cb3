"""A head of sentences while it learns from unlabelled images: rows or pixels in, L_gcd + lambda L_lar out."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.heads.isa.head import Isa
from adaptkit.heads.isa.losses import global_distillation, local_regularisation
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options


@options
class DistillationConfig:
    """What the token learner minimises."""

    lambda_: float = option(1.0, "Weight of the local alignment regularisation; 0 leaves it out.", least=0)
    tau: float = option(0.07, "Temperature of the distillation and of the contrast.", above=0)
    bank: int = option(
        0, "Teacher features of earlier batches that stand in the bank beside those of the batch; 0 for none.", least=0
    )


class Rows(Protocol):
    """The teacher's rows of all images, by place: a tensor, or a table on disk."""

    def __getitem__(self, index: Tensor) -> Tensor:
        """Places (B,) -> rows (B, 1, 1 + P, D_v)."""
        ...


class SentenceTrainee(AdaptedCLIP):
    """A head of sentences beside its frozen teacher, which is the backbone.

    Args:
        head: the head, which is trained in place.
        config: the loss.
        teacher_rows: the teacher's rows by place, where the head reads pixels; None computes them.
    """

    queue: Tensor
    filled: Tensor

    def __init__(self, head: Isa, config: DistillationConfig, teacher_rows: Rows | None = None):
        super().__init__(head.backbone, ClassSet(("image",)))
        backbone = head.backbone
        self.head, self.config, self.teacher_rows = head, config, teacher_rows
        self.consumes: Consumes = head.consumes
        device, width = backbone.device, backbone.embed_dim
        self.projection = nn.Parameter(torch.empty(backbone.text_width, width, device=device))  # P
        nn.init.xavier_uniform_(self.projection)
        self.projection.requires_grad_(config.lambda_ > 0)
        self.register_buffer("queue", torch.zeros(config.bank, width, device=device))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64, device=device))

    def logits(self, x: Tensor) -> Tensor:
        """What the head consumes -> scaled cosines (B, B) of queries and the images' own features."""
        return self.backbone.logits(self.head.outputs(x), self.teacher(x)[:, 0])

    @torch.no_grad()
    def teacher(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """What the head consumes -> the teacher's image feature and patches in the joint space, (B, 1 + P, D)."""
        if self.head.consumes == "tokens":
            rows = x
        elif self.teacher_rows is not None and places is not None:
            rows = self.teacher_rows[places].flatten(0, 1).to(x.device)
        else:
            rows = self.backbone.encode_tokens(x)
        return at_least_fp32(self.backbone.project_tokens(rows))

    def loss(self, x: Tensor, labels: Tensor, places: Tensor | None = None) -> Tensor:
        """What the head consumes, and labels that nothing reads -> scalar.

        Args:
            places: (B,) int64, which of the images the rows are, for the teacher's rows.
        """
        known = self.teacher(x, places)
        feature, patches = F.normalize(known[:, 0], dim=-1), known[:, 1:]
        words, attention = self.head.read(x)
        queries = self.head.queries_of_words(words)
        bank = torch.cat([feature, self.queue[: int(self.filled)]]) if self.config.bank else None
        loss = global_distillation(queries, feature, self.config.tau, bank)
        if self.config.lambda_:
            loss = loss + self.config.lambda_ * local_regularisation(words, self.projection, patches, attention)
        if self.config.bank and self.training:
            self._remember(feature)
        return loss

    @torch.no_grad()
    def _remember(self, features: Tensor) -> None:
        """Put unit features (B, D) at the front of the queue, behind which the oldest fall out."""
        self.queue.copy_(torch.cat([features, self.queue])[: len(self.queue)])
        self.filled.copy_((self.filled + len(features)).clamp(max=len(self.queue)))

"""CTP + TFT, in the spirit of its paper: prompts see the image for each class, and image features see the classes.

Long et al., "Task-Oriented Multi-Modal Mutual Learning for Vision-Language Models", arXiv:2303.17169. Of the paper only
the abstract could be read, and no code was released, so this is no reproduction: it is a reading of the two modules
that the abstract names, and every equation is ours. With unit patch features V (B, P, D), unit image features f (B, D),
class weights T0 (C, D) of the templates, s = exp(logit_scale) and n(.) for unit length:
    class-aware text prompts (CTP)     z[b,c] = MHA(T0[c] Wq, V[b] Wk, V[b] Wv)
        mode "prompt"                  T[b,c] = n(g([ctx_1 + z Wo] .. [ctx_M + z Wo] [CLASS c]))
        mode "feature"                 T[b,c] = n(t[c] + z Wo),  t[c] = g([ctx_1] .. [ctx_M] [CLASS c])
    text-guided feature tuning (TFT)   f'[b] = n(f[b] + MHA(f[b] Wq', R Wk', R Wv') Wo'),  R the class set
    L = CE(s <f', T>, y) + lambda (1 - <f', f>)
CoCoOp adds one shift of the image to the prompts of all classes; here every class asks the patches for its own. With
Wo = Wo' = 0, as they start, the logits are those of the templates where the context begins with their words.

Scores of a class depend on the other classes of the set, because R is the set: see docs/systems/ctp_tft.md.

Departure: all of it, but for what the abstract says: prompts with the image content of their class, image features that
    attend to the classes, a contrastive loss, frozen towers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.layers.context import LearnedContext, random_context, word_context
from adaptkit.options import option, options

POOL_TEMPERATURE = 0.01  # of tft="pool"


@options
class CTPTFTConfig:
    mode: Literal["prompt", "feature"] = option(
        "prompt",
        "The image shifts the learnt tokens of every class, so that each image has prompts of its own as in CoCoOp, or "
        "the text features, behind one encoding of the classes.",
    )
    n_ctx: int = option(4, "Learnt tokens.", least=1)
    ctx_init: str = option("a photo of a", "Words to start from, which set n_ctx; empty starts from random tokens.")
    reduction: int = option(4, "The attentions are D // reduction wide.", least=1)
    heads: int = option(4, "Heads of the attentions.", least=1)
    query: Literal["class", "mean", "none"] = option(
        "class",
        "Who asks the patches: every class, or the mean of the classes, which gives all classes the same shift as in "
        "CoCoOp, or nobody, which leaves CTP out.",
    )
    tft: Literal["classes", "pool", "none"] = option(
        "classes",
        "The image feature attends to the classes, or takes the patches that are near to one, or is left as it is.",
    )
    keys: Literal["static", "prompts"] = option(
        "static", "The classes that the image feature attends to: those of the templates, or of its prompts."
    )
    keep: float = option(0.0, "The weight lambda of keeping the tuned image features near the frozen ones.", least=0)
    clip_templates: tuple[str, ...] = option((), "Templates of T0; where there are none, the data set's.")
    most_prompts: int = option(
        4096, "Images times classes of mode prompt, at most, in a training step, and in a pass of a test.", least=1
    )


class CrossAttention(nn.Module):
    """Multi-head attention without biases whose output starts at zero: queries of one side, keys of the other.

    Args:
        dim: D, of queries and keys.
        width: of the attention; the heads divide it.
        out: width of the output.
    """

    def __init__(self, dim: int, width: int, heads: int, out: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, out, bias=False)
        for layer in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.out.weight)

    def forward(self, queries: Tensor, others: Tensor) -> Tensor:
        """Queries (B, q, D), or (q, D) of all images, and others (B, m, D) or (m, D) -> (B, q, out)."""
        q, k, v = self._heads(self.query(queries)), self._heads(self.key(others)), self._heads(self.value(others))
        batch = torch.broadcast_shapes(q.shape[:1], k.shape[:1])
        q, k, v = (x.expand(*batch, -1, -1, -1) for x in (q, k, v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, n, a) or (n, a) -> (B or 1, heads, n, a / heads)."""
        return (x if x.ndim == 3 else x[None]).unflatten(-1, (self.heads, -1)).transpose(1, 2)


def zero_linear(dim: int) -> nn.Linear:
    """A linear layer from D to D without a bias that starts at zero."""
    layer = nn.Linear(dim, dim, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


@register_method("ctp_tft", CTPTFTConfig, touches="before")
class CTPTFT(AdaptedCLIP):
    """Rows (B, 1 + P, D_v) of the frozen image tower against text features (B, C, D) that see them, and the reverse."""

    is_usual = False  # prompts of every image and class
    consumes = "tokens"

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: CTPTFTConfig):
        backbone.require_vit_blocks("ctp_tft")
        super().__init__(backbone, classes)
        self.config, dim = config, backbone.embed_dim
        width = max(1, dim // config.reduction)
        if width % config.heads:
            raise ValueError(
                f"reduction={config.reduction} makes the attentions {width} wide at D={dim}, which "
                f"heads={config.heads} do not divide; change one of them"
            )
        ctx = word_context(backbone, config.ctx_init) if config.ctx_init else random_context(backbone, config.n_ctx)
        # Where images shift the tokens of each class, classes share no learnt token.
        self.context = LearnedContext(backbone, classes, ctx, apart=config.mode == "prompt")  # (n_ctx, D_t)
        make = partial(CrossAttention, dim, width, config.heads)
        shifted = backbone.text_width if config.mode == "prompt" else dim
        self.ctp = None if config.query == "none" else make(shifted).to(backbone.device)
        self.tft = make(dim).to(backbone.device) if config.tft == "classes" else None
        self.pool = zero_linear(dim).to(backbone.device) if config.tft == "pool" else None
        self.kept = backbone.keep_text(self._clip_weights)
        self.mixes_classes = config.tft != "none"
        self.kept_texts: Tensor | None = None  # t (C, D) inside `encode_classes_once`

    @property
    def clip_weights(self) -> Tensor:
        """T0, the class weights (C, D) of the templates by the towers as they were loaded, unit rows."""
        return self.kept()

    def _clip_weights(self) -> Tensor:
        templates = self.config.clip_templates or self.classes.templates
        return class_weights(self.backbone.as_loaded(), self.classes.with_templates(templates))

    def logits(self, tokens: Tensor) -> Tensor:
        """Output rows (B, 1 + P, D_v) of the image tower -> logits (B, C)."""
        return self._answers(tokens)[0]

    def loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        self._check_size(len(tokens))
        logits, image_features, tuned = self._answers(tokens)
        cross_entropy = F.cross_entropy(logits, labels)
        return cross_entropy + self._drift(image_features, tuned) if self.config.keep else cross_entropy

    def regularizer(self, tokens: Tensor, labels: Tensor) -> Tensor | None:
        return self._drift(*self._answers(tokens)[1:]) if self.config.keep else None

    def _drift(self, image_features: Tensor, tuned: Tensor) -> Tensor:
        return self.config.keep * (1 - (image_features * tuned).sum(dim=-1).mean())

    def _answers(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (B, 1 + P, D_v) -> logits (B, C), and f and f' (B, D), in parts where there are many prompts."""
        if not len(tokens):  # no image, no prompts to encode
            nothing = tokens.new_zeros(0, self.backbone.embed_dim)
            return tokens.new_zeros(0, len(self.classes)), nothing, nothing
        per_pass = max(1, self.config.most_prompts // len(self.classes))
        if self.config.mode == "feature" or len(tokens) <= per_pass:
            return self._answers_of_part(tokens)
        logits, image_features, tuned = zip(*map(self._answers_of_part, tokens.split(per_pass)), strict=True)
        return torch.cat(logits), torch.cat(image_features), torch.cat(tuned)

    def _answers_of_part(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dtype = self.context.ctx.dtype
        features = F.normalize(self.backbone.project_tokens(tokens).to(dtype), dim=-1)  # (B, 1 + P, D)
        image_features, patches = features[:, 0], features[:, 1:]
        text_features = self.text_features(patches).to(dtype)  # (B, C, D), or (C, D) where images change nothing
        tuned = self.tuned_features(image_features, patches, text_features)
        return self.backbone.logits(tuned, text_features), image_features, tuned

    def text_features(self, patches: Tensor) -> Tensor:
        """T: text features (B, C, D), not normalised, for unit patch features (B, P, D); (C, D) without CTP."""
        if self.ctp is None or self.config.mode == "feature":
            texts = self.context() if self.kept_texts is None else self.kept_texts  # (C, D)
            return texts if self.ctp is None else texts + self.shifts(patches)
        shift = self.shifts(patches)  # (B, C, D_t)
        ctx = self.context.ctx + shift[:, :, None]  # (B, C, n_ctx, D_t)
        return self.context(ctx.flatten(1, 2))

    def shifts(self, patches: Tensor) -> Tensor:
        """z Wo of CTP: what the patches (B, P, D) say to every class, (B, C, D_t) in mode prompt, else (B, C, D).

        Raises:
            TypeError: if CTP is left out.
        """
        if self.ctp is None:
            raise TypeError("query='none' leaves the class-aware prompts out, so there are no shifts")
        weights = self.clip_weights.to(patches.dtype)
        if self.config.query == "class":
            return self.ctp(weights, patches)
        return self.ctp(weights.mean(dim=0, keepdim=True), patches).expand(-1, len(weights), -1)

    def tuned_features(self, image_features: Tensor, patches: Tensor, text_features: Tensor) -> Tensor:
        """f' (B, D) for unit f (B, D), unit patch features (B, P, D) and T (B, C, D) or (C, D)."""
        weights = self.clip_weights.to(image_features.dtype)
        if self.pool is not None:
            nearest = (patches @ weights.T).amax(dim=-1)  # (B, P)
            pooled = (nearest / POOL_TEMPERATURE).softmax(dim=-1)[:, None] @ patches  # (B, 1, D)
            return F.normalize(image_features + self.pool(pooled)[:, 0], dim=-1)
        if self.tft is None:
            return image_features
        if self.config.keys == "prompts":  # no gradient through R: the two modules would form a loop in one step
            weights = F.normalize(text_features.detach(), dim=-1)
        return F.normalize(image_features + self.tft(image_features[:, None], weights)[:, 0], dim=-1)

    def _check_size(self, n_images: int) -> None:
        """Refuse a training step with more prompts than are allowed."""
        count = n_images * len(self.classes)
        if self.config.mode == "prompt" and count > self.config.most_prompts:
            raise ValueError(
                f"mode='prompt' encodes {count} prompts in this step, {n_images} images times {len(self.classes)} "
                f"classes, and most_prompts={self.config.most_prompts}; set mode to feature, which encodes every class "
                "once, or take smaller batches"
            )

    @contextmanager
    def encode_classes_once(self) -> Iterator[None]:
        before = self.kept_texts
        with super().encode_classes_once():
            if before is None and (self.ctp is None or self.config.mode == "feature"):
                with torch.no_grad():
                    self.kept_texts = self.context()
            try:
                yield
            finally:
                self.kept_texts = before

    def rebuild_from_names(self) -> None:
        self.context.set_classes(self.backbone, self.classes)
        self.kept = self.backbone.keep_text(self._clip_weights)

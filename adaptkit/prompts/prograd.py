"""ProGrad: CoOp whose gradient may not oppose the direction that keeps CLIP's general knowledge.

Zhu et al., "Prompt-aligned Gradient for Prompt Tuning", arXiv:2205.14865, with z the learnt, z_0 the zero-shot logits:
    L_ce = cross-entropy(z, y)        L_kl = KL(softmax(z_0 / T) || softmax(z / T))
    G_d = gradient of L_ce, G_g = gradient of L_kl
    G = G_d                                               if their angle is at most 90 degrees
    G = G_d - lambda * (G_d . G_g) / |G_g|^2 * G_g        otherwise
and only G trains the context. Tensors that a wrapper learns in the towers are trained alike; z_0 takes the image
feature as it is, without gradient, and the text features of the tower as it was loaded.

Departure: like the released code, L_kl lacks the entropy of the zero-shot side, which has no gradient, and is T^2 times
    as large; the direction of G_g is the same.
Departure: like the released code, initial words stand in the last of the n_ctx tokens and the others start at zero; a
    template of more tokens than words (its comma is one) leaves its last tokens behind the learnt ones, fixed.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.contract.replicas import Replicas
from adaptkit.layers.context import ClassTokenPosition, LearnedContext, random_context
from adaptkit.layers.replica_steps import cross_entropies
from adaptkit.options import option, options


@options
class ProGradConfig:
    n_ctx: int = option(16, "Learnt tokens, at least as many as the template has words.", least=1)
    words_init: bool = option(True, "Start from the template's words in front of the name, instead of random tokens.")
    template: str = option(
        "", "The template to start from and for z_0; empty takes the data set's, and starts from the first of several."
    )
    strength: float = option(1.0, "Lambda, the share of the opposing part that is taken away.", least=0)
    temperature: float = option(1.0, "The temperature T of the KL term.", above=0)
    class_specific: bool = option(False, "One context per class (CSC), for random tokens only.")
    class_token_position: ClassTokenPosition = option("end", "Where the class name stands among the learnt tokens.")


@register_method("prograd", ProGradConfig, touches="before")
class ProGrad(AdaptedCLIP):
    """Frozen image features (B, D) against the text features (C, D) of prompts with learnt tokens (n_ctx, D_t)."""

    consumes = "features"
    provides = frozenset({"backward", "backward_replicas", "class_weights", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: ProGradConfig):
        super().__init__(backbone, classes)
        self.config = config
        words = self._templates()[0].partition("{}")[0].strip()
        left_over: list[int] = []
        if config.words_init and words:
            ctx, left_over = padded_context(backbone, words, config.n_ctx)  # (n_ctx, D_t)
        elif config.class_specific:
            ctx = random_context(backbone, len(classes), config.n_ctx)  # (C, n_ctx, D_t)
        else:
            ctx = random_context(backbone, config.n_ctx)  # (n_ctx, D_t)
        self.context = LearnedContext(backbone, classes, ctx, config.class_token_position, left_over)
        if ctx.ndim == 3:
            self.provides = self.provides - {"encode_text"}
        self.kept = backbone.keep_text(self._zero_shot_weights)

    def _templates(self) -> tuple[str, ...]:
        return (self.config.template,) if self.config.template else self.classes.templates

    @property
    def zero_shot_weights(self) -> Tensor:
        """Class weights (C, D) of the templates, unit rows."""
        return self.kept()

    def _zero_shot_weights(self) -> Tensor:
        return class_weights(self.backbone.as_loaded(), self.classes.with_templates(self._templates()))

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C)."""
        return self.backbone.logits(image_features, self.current_class_weights())

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy L_ce alone; L_kl changes its gradient in `backward` and adds nothing to the value."""
        return F.cross_entropy(self.logits(image_features), labels)

    def zero_shot_divergence(self, image_features: Tensor, logits: Tensor) -> Tensor:
        """Divergence L_kl of logits (B, C) from the zero-shot logits, up to a constant."""
        return self._divergences(image_features[None], logits[None])[0]

    def _divergences(self, x: Tensor, logits: Tensor) -> Tensor:
        """Divergences L_kl (R,) of logits (R, B, C) of batches (R, B, D)."""
        T = self.config.temperature
        zero_shot = self.backbone.logits(x, self.zero_shot_weights).detach()  # (R, B, C)
        return T**2 * cross_entropies(logits / T, (zero_shot / T).softmax(dim=-1))

    def backward(self, image_features: Tensor, labels: Tensor) -> Tensor:
        """Put G into `.grad` of each learnt tensor, and return L_ce, detached."""
        cross_entropy, domain, general = self.gradients(image_features, labels)
        learnt = self._all_learnt()
        for name in domain:
            gradient, parameter = align(domain[name], general[name], self.config.strength), learnt[name]
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return cross_entropy

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        ctx = replicas.learnt["context.ctx"]  # (R, n_ctx, D_t), or (R, C, n_ctx, D_t)
        found, aligned = [], []
        parts = (tensor.split(self.context.variants_at_once) for tensor in (ctx, x, labels))
        for own, images, truth in zip(*parts, strict=True):
            own = own.detach().requires_grad_()
            weights = F.normalize(self.context.of_replicas(own), dim=-1)  # (r, C, D)
            logits = self.backbone.logits(images, weights)  # (r, B, C)
            losses = cross_entropies(logits, truth), self._divergences(images, logits)  # L_ce and L_kl, (r,) each
            domain, general = (torch.autograd.grad(loss.sum(), own, retain_graph=True)[0] for loss in losses)
            aligned += [align(*both, self.config.strength) for both in zip(domain, general, strict=True)]
            found.append(losses[0].detach())
        ctx.grad = torch.stack(aligned)
        return torch.cat(found)

    def _all_learnt(self) -> dict[str, nn.Parameter]:
        """Parameters by name: the context, and the tensors that a wrapper learns in the towers."""
        in_towers = enumerate(self.backbone.learnt_in_towers())
        return {**self.learnt_parameters(), **{f"towers.{index}": parameter for index, parameter in in_towers}}

    def gradients(self, image_features: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Loss L_ce, detached, with G_d and G_g of each learnt tensor in use: one forward pass, two backward passes."""
        learnt = self._all_learnt()
        logits = self.logits(image_features)  # (B, C)
        cross_entropy = F.cross_entropy(logits, labels)
        divergence = self.zero_shot_divergence(image_features, logits)
        domain, general = (
            torch.autograd.grad(loss, list(learnt.values()), retain_graph=True, allow_unused=True)
            for loss in (cross_entropy, divergence)
        )
        return cross_entropy.detach(), _in_use(learnt, domain), _in_use(learnt, general)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.context.encode(self.backbone, texts)

    def class_weights(self) -> Tensor:
        return F.normalize(self.context(), dim=-1)  # (C, D)

    @property
    def bound_to_classes(self) -> str | None:
        if self.context.ctx.ndim == 2:
            return None
        return (
            "class-specific contexts belong to the classes they were learnt on and say nothing about other names; "
            "train with class_specific=False to transfer"
        )

    def rebuild_from_names(self) -> None:
        self.context.set_classes(self.backbone, self.classes)
        self.kept = self.backbone.keep_text(self._zero_shot_weights)


def _in_use(learnt: Iterable[str], gradients: Iterable[Tensor | None]) -> dict[str, Tensor]:
    """Gradients by name, without the tensors on which the loss does not depend."""
    return {name: gradient for name, gradient in zip(learnt, gradients, strict=True) if gradient is not None}


def align(domain: Tensor, general: Tensor, strength: float) -> Tensor:
    """Gradient G: `domain` less a share `strength` of its part that opposes `general`; all of it if that is zero."""
    direction = F.normalize(general.flatten(), dim=0)  # Zero stays zero.
    opposing = (domain.flatten() @ direction).clamp(max=0)
    return domain - strength * opposing * direction.view_as(domain)


def padded_context(backbone: FrozenCLIP, words: str, n_ctx: int) -> tuple[Tensor, list[int]]:
    """Zeros, then embeddings of a phrase's first tokens, one per word: (n_ctx, D_t); and the ids of its other tokens.

    Raises:
        ValueError: if the phrase has more than n_ctx words, or fewer tokens than words.
    """
    n_words = len(words.split())
    if n_words > n_ctx:
        raise ValueError(f"template {words!r} has {n_words} words and n_ctx={n_ctx}; raise n_ctx, or shorten it")
    tokens = backbone.tokenizer.words(words)
    if len(tokens) < n_words:
        raise ValueError(
            f"template {words!r} has {n_words} words and this tokenizer makes {len(tokens)} tokens of them; leave its "
            "punctuation out, or set words_init=False"
        )
    ctx = torch.zeros(n_ctx, backbone.text_width, device=backbone.device)
    with torch.no_grad():
        ctx[n_ctx - n_words :] = backbone.embed_tokens(torch.tensor(tokens[:n_words])).float()
    return ctx, tokens[n_words:]

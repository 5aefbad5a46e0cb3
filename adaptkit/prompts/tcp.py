"""TCP: KgCoOp whose classes also have prompts of their own, made of their text features, in the middle of the tower.

Yao et al., "TCP: Textual-based Class-aware Prompt tuning for Visual-Language Model", arXiv:2311.18231. With the class
feature w_c^clip of a template, of unit length, and h the network Linear - QuickGELU - Linear:
    P_c = h(w_c^clip)                              n_ctx tokens for class c
    [SOS] v_1 .. v_n NAME . [EOS]                  what text blocks 0 .. l-1 read
    [SOS] P_c,1 .. P_c,n NAME . [EOS]              what block l and all later ones read
    L = L_ce + lambda * 1/C * sum_c (1 - cos(w_c, w_c^clip))
The v_i and h learn. What block l-1 makes of the v_i is thrown away, so they act only through the tokens behind them.
New classes get their P_c from their own features, so what is learnt belongs to no class.

Departure: like the released code, P_c replaces the outputs entirely; its weights W and 1.0 are written into the code.
Departure: the released code writes a template for every data set, "X X X X {}, a type of pet.", whose first tokens are
    learnt. Without a `template`, ours is X's and what the data set's template has from the name on.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_set import ClassSet, check_template
from adaptkit.classes.class_weights import class_weights
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.contract.replicas import Replicas
from adaptkit.layers.context import LearnedContext, random_context, word_context
from adaptkit.layers.replica_steps import backward_in_parts, cross_entropies, module_each
from adaptkit.options import option, options
from adaptkit.towers.activations import LeanQuickGELU


@options
class TCPConfig:
    n_ctx: int = option(4, "Learnt tokens, and as many made for each class.", least=1)
    ctx_init: str = option("", "Words to start from, which set n_ctx; empty starts from random tokens.")
    insert_block: int = option(
        8,
        "The text block, counted from 0, that first reads the classes' tokens; the last of a shallower tower.",
        least=1,
    )
    reduction: int = option(4, "The network is D // reduction wide in the middle.", least=1)
    guidance: float = option(8.0, "The weight lambda of the distance from the templates' features.", least=0)
    template: str = option(
        "",
        "The learnt prompt with {} for the name; its first n_ctx tokens are learnt. Empty: the learnt tokens, then "
        "what the data set's template has from the name on.",
    )
    clip_templates: tuple[str, ...] = option((), "Templates of w_clip; where there are none, the data set's.")


class ClassPromptNet(nn.Module):
    """The network h: class features (C, D), unit rows -> tokens of the classes (C, n_ctx, D_t).

    Example:
        ```python
        net = adaptkit.prompts.ClassPromptNet(dim=512, hidden=128, n_ctx=4, text_width=512)
        tokens = net(torch.nn.functional.normalize(torch.randn(10, 512), dim=-1))  # (10, 4, 512)
        ```
    """

    def __init__(self, dim: int, hidden: int, n_ctx: int, text_width: int):
        super().__init__()
        self.n_ctx = n_ctx
        self.linear1 = nn.Linear(dim, hidden)
        self.activation = LeanQuickGELU()
        self.linear2 = nn.Linear(hidden, n_ctx * text_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.activation(self.linear1(x))).unflatten(-1, (self.n_ctx, -1))


@register_method("tcp", TCPConfig, touches="before")
class TCP(AdaptedCLIP):
    """Frozen image features (B, D) against class weights (C, D) of prompts that know their class."""

    consumes = "features"
    provides = frozenset({"backward_replicas", "class_weights", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: TCPConfig):
        super().__init__(backbone, classes)
        self.config = config
        ctx = word_context(backbone, config.ctx_init) if config.ctx_init else random_context(backbone, config.n_ctx)
        words, tail = self._around_names(len(ctx))
        self.context = LearnedContext(backbone, classes, ctx, words=words, tail=tail, apart=True)  # (n_ctx, D_t)
        self.insert_block = min(config.insert_block, backbone.text_depth - 1)
        hidden = max(1, backbone.embed_dim // config.reduction)
        net = ClassPromptNet(backbone.embed_dim, hidden, len(ctx), backbone.text_width)
        self.meta_net = net.to(backbone.device)
        self.kept = backbone.keep_text(lambda: self._clip_weights(self.classes))

    def _around_names(self, n_ctx: int) -> tuple[Sequence[int], str]:
        """Fixed token ids between the learnt tokens and the name, and what follows the name."""
        template = self.config.template
        if not template:
            first = self.classes.templates[0]
            return (), first[first.index("{}") + 2 :]
        check_template(template)
        front, tail = template.split("{}")
        tokens = self.backbone.tokenizer.words(front)
        if len(tokens) < n_ctx:
            raise ValueError(
                f"template {template!r} of tcp has {len(tokens)} tokens in front of the class name, and "
                f"n_ctx={n_ctx} are to be learnt there; put {n_ctx} words there, such as "
                f"{'X ' * n_ctx + '{}' + tail!r}, or lower n_ctx"
            )
        return tokens[n_ctx:], tail

    @property
    def clip_weights(self) -> Tensor:
        """Class weights (C, D) of the templates by the towers as they were loaded, unit rows."""
        return self.kept()

    def _clip_weights(self, classes: ClassSet) -> Tensor:
        templates = self.config.clip_templates or self.classes.templates
        return class_weights(self.backbone.as_loaded(), classes.with_templates(templates))

    def logits(self, image_features: Tensor) -> Tensor:
        """Frozen image features (B, D), fresh or from the cache -> logits (B, C)."""
        return self.backbone.logits(image_features, self.current_class_weights())

    def loss(self, image_features: Tensor, labels: Tensor) -> Tensor:
        weights = self.current_class_weights()  # (C, D)
        cross_entropy = F.cross_entropy(self.backbone.logits(image_features, weights), labels)
        return cross_entropy + self.config.guidance * self.knowledge_gap(weights)

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        return backward_in_parts(replicas, x, labels, self._replica_losses, self.context.variants_at_once)

    def _replica_losses(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        ctx = replicas.learnt["context.ctx"]  # (R, n_ctx, D_t)
        shared = self.clip_weights.to(ctx.dtype).expand(len(replicas), -1, -1)  # (R, C, D)
        prompts = module_each(self.meta_net, "meta_net", replicas, shared)  # (R, C, n_ctx, D_t)
        weights = F.normalize(self.context.of_replicas(ctx, {self.insert_block: prompts}), dim=-1)  # (R, C, D)
        cross_entropy = cross_entropies(self.backbone.logits(x, weights), labels)
        return cross_entropy + self.config.guidance * self.knowledge_gap(weights)

    def regularizer(self, image_features: Tensor, labels: Tensor) -> Tensor:
        return self.config.guidance * self.knowledge_gap(self.current_class_weights())

    def knowledge_gap(self, weights: Tensor) -> Tensor:
        """One minus the cosine of class weights (..., C, D) and the templates', the mean (...) over all classes."""
        return 1 - F.cosine_similarity(weights, self.clip_weights, dim=-1, eps=1e-7).mean(dim=-1)

    def class_prompts(self, clip_weights: Tensor) -> Tensor:
        """The tokens P_c (C, n_ctx, D_t) for the templates' class weights (C, D)."""
        return self.meta_net(clip_weights.to(self.context.ctx.dtype))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        if not len(texts):
            return self.context.encode(self.backbone, texts)
        prompts = self.class_prompts(self._clip_weights(ClassSet(tuple(texts))))
        return self.context.encode(self.backbone, texts, by_class={self.insert_block: prompts})

    def class_weights(self) -> Tensor:
        by_class = {self.insert_block: self.class_prompts(self.clip_weights)} if len(self.classes) else {}
        return F.normalize(self.context(by_class=by_class), dim=-1)  # (C, D)

    def rebuild_from_names(self) -> None:
        words, tail = self._around_names(self.context.n_ctx)
        self.context.set_classes(self.backbone, self.classes, words, tail)
        self.kept = self.backbone.keep_text(lambda: self._clip_weights(self.classes))

"""Full fine-tuning: the towers' own weights learn, all of them or those of the last blocks, by cross-entropy.

The baseline of Wortsman et al., "Robust fine-tuning of zero-shot models", arXiv:2109.01903. With learnt weights w that
start as CLIP's, image features f_w and unit rows n(.),
    logits = exp(logit_scale) n(f_w(x)) T^T
where the class weights T (C, D) are either of two:
    "text"       T_c = n(g_w(t_c)), from the text tower as it learns, or as it stands if it does not
    "zero_shot"  rows of their own that learn, too, and start as zero-shot's: T = n(g(t))
The first is fine-tuning with the class prompts as the head, the cross-entropy beside the contrastive loss of Goyal et
al., "Finetune Like You Pretrain", arXiv:2212.00638; it goes on to other classes. The second is what the first paper
fine-tunes end to end. So many weights want a low rate, such as 1e-5 of AdamW.

A ResNet, or another image tower without the blocks of a vision transformer, learns as a whole. What learns is kept and
saved in full precision; a saved adapter has the weights that learn and no others: with all blocks, most of the model.

Departure: logit_scale and the text tower's embeddings of tokens and positions stay frozen: few class names read few
    tokens, and their projections in the first block could not be kept.
Departure: rows of a learnt classifier are brought to unit length in every step; the released code (WiSE-FT) multiplies
    them by the scale at the start and leaves them as they become.
Departure: all parts stay in eval mode, so batch norms and dropout of towers that have any do not move.
"""

import copy
from collections.abc import Sequence
from typing import Literal, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.images import as_preprocessed, size_blamed
from adaptkit.classes.class_prompts import ClassPrompts, TemplateSet
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.contract.registry import register_method
from adaptkit.layers.block_view import chosen_layers, require_text_blocks
from adaptkit.layers.own_weights import OwnWeights, with_own_weights, with_whole_own
from adaptkit.layers.start_values import start_of
from adaptkit.layers.tuned_parts import own_copy
from adaptkit.options import option, options
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower
from adaptkit.towers.vision_views import why_no_vision_tower

Tower = TypeVar("Tower", TextTower, VisionTower)


@options
class FullConfig:
    encoder: Literal["both", "text", "vision"] = option("both", "Towers that learn.")
    classifier: Literal["text", "zero_shot"] = option(
        "text",
        "Class weights: of the texts, by the text tower as it is then; or rows that learn, from those of zero-shot on "
        '("zero_shot"), for which the text tower stands still, so the encoder has to be "vision".',
    )
    last_blocks: int | None = option(
        None,
        "Blocks that learn, counted from the last; null is all of them, and so is a number above a depth.",
        least=0,
    )
    ends: bool = option(True, "Whether what stands behind the blocks learns: the last norm, the pool, the projection.")
    embeddings: bool = option(
        True,
        "Whether what stands in front of the image tower's blocks learns: patch embedding, class token, positions.",
    )
    norms_only: bool = option(False, "Whether of all these the layer norms alone learn.")
    layer_decay: float = option(
        1.0,
        "What the rate is multiplied by from each block to the one in front of it; 1 is the same rate everywhere.",
        above=0,
        most=1,
    )
    template_set: TemplateSet = option(
        "classes", 'The classes\' own templates, or "a photo of a {}." for every data set.'
    )

    def __post_init__(self) -> None:
        if self.classifier == "zero_shot" and self.encoder != "vision":
            raise ValueError(
                f'classifier="zero_shot" and encoder={self.encoder!r}; it reads no text, so the text tower '
                'would learn nothing: set encoder="vision", or classifier="text"'
            )


@register_method("full", FullConfig, touches="inside")
class Full(AdaptedCLIP):
    """Image features (B, D) against class weights (C, D), through towers whose own weights learn."""

    is_usual = False  # gradients of all weights
    consumes: Consumes = "images"
    takes_sentences = True
    provides = frozenset({"class_weights", "image_tokens", "encode_text", "start_state"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: FullConfig):
        text, vision = backbone.text_tower, backbone.vision_tower
        text_weights, vision_weights, comes_apart = OwnWeights(), OwnWeights(), vision is not None
        if config.encoder != "vision":
            text, text_weights = _learning(require_text_blocks(backbone, "full"), "text", backbone, config)
        if config.encoder != "text":
            if comes_apart:
                tower = backbone.require_vit_blocks(f'full with encoder="{config.encoder}"')
                vision, vision_weights = _learning(tower, "image", backbone, config)
            else:
                vision_weights = _learning_whole(backbone, config)
        super().__init__(backbone.with_towers(text=text, vision=vision), classes)
        self.config, self.frozen_towers = config, (backbone.text_tower, backbone.vision_tower)
        self.text_weights, self.vision_weights = text_weights, vision_weights
        if not comes_apart:
            self.provides = self.provides - {"image_tokens"}
        if config.encoder == "text":
            self.consumes = "features"
        self.prompts = ClassPrompts(self.backbone, classes, config.template_set)
        self.classifier: nn.Parameter | None = None  # (C, D), rows in the order of the classes
        if config.classifier == "zero_shot":
            if not len(classes):
                raise ValueError('full with classifier="zero_shot" learns a row for each class; give classnames')
            self.provides = self.provides - {"encode_text"}
            self.classifier = own_copy(self.prompts())

    def logits(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W), or image features (B, D) if the text tower alone learns -> logits (B, C)."""
        image_features = self.encode_image(x) if self.consumes == "images" else x  # (B, D)
        return self.backbone.logits(image_features, self.current_class_weights().to(image_features.dtype))

    def encode_image(self, images: Tensor) -> Tensor:
        whole = self.vision_weights.whole
        if whole is None:
            return self.backbone.encode_image(images)
        images = as_preprocessed(images, self.backbone)
        with size_blamed(images, self.backbone):
            features: Tensor | tuple[Tensor, ...] = whole(images.to(self.backbone.dtype))
        return features[0] if isinstance(features, tuple) else features

    def image_tokens(self, images: Tensor) -> Tensor:
        return self.backbone.encode_tokens(images)

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(x), labels)

    def class_weights(self) -> Tensor:
        return self.prompts() if self.classifier is None else F.normalize(self.classifier, dim=-1)  # (C, D)

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self.classes)

    @property
    def bound_to_classes(self) -> str | None:
        if self.classifier is None:
            return None
        return (
            f'full with classifier="zero_shot" has learnt a row for each of its {len(self.classes)} classes, and other '
            'names have none; classifier="text" takes other classes'
        )

    def rate_shares(self) -> dict[str, float]:
        """With `layer_decay` d, d^n for weights with n blocks behind their own; embeddings count as block -1."""
        if self.config.layer_decay == 1:
            return {}
        text, vision = self.backbone.text_tower, self.backbone.vision_tower
        depths = {} if vision is None else _named("vision_weights", self.vision_weights.depths(vision.depth))
        if text is not None:
            depths |= _named("text_weights", self.text_weights.depths(text.depth))
        return {name: self.config.layer_decay**depth for name, depth in depths.items()}

    def start_state(self) -> dict[str, Tensor]:
        start = start_of(self, "text_weights", "vision_weights")
        return start if self.classifier is None else start | {"classifier": own_copy(self.prompts()).detach()}

    def merge_and_unload(self) -> FrozenCLIP:
        """A plain backbone with the learnt weights in the place of its own; this method stays as it is.

        Raises:
            TypeError: if a classifier has learnt beside the towers.
        """
        if self.classifier is not None:
            raise TypeError(
                'full with classifier="zero_shot" learns a classifier beside CLIP\'s weights, which no backbone could '
                'hold; classifier="text" learns weights alone'
            )
        text, vision = self.frozen_towers
        copies: dict[int, object] = {}
        plain = copy.deepcopy(self.backbone.with_towers(text=text, vision=vision), copies)
        plain.source = None  # No file holds these weights yet.
        plain.name = f"{self.backbone.name}+full"
        self.text_weights.write_into(copies)
        self.vision_weights.write_into(copies)
        return plain


def _learning(tower: Tower, kind: str, backbone: FrozenCLIP, config: FullConfig) -> tuple[Tower, OwnWeights]:
    """The tower with weights that learn, and those weights.

    Raises:
        ValueError: if the options leave none.
    """
    made, own = with_own_weights(
        tower,
        _last(tower, config.last_blocks),
        ends=config.ends,
        embeddings=config.embeddings,
        norms_only=config.norms_only,
    )
    if not own.origins:
        raise ValueError(
            f"full with last_blocks={config.last_blocks}, ends={config.ends}, embeddings={config.embeddings} and "
            f"norms_only={config.norms_only} leaves no weight to learn in the {kind} tower of {backbone.name}; let "
            "more blocks learn, or leave that tower out with encoder"
        )
    return made, own


def _learning_whole(backbone: FrozenCLIP, config: FullConfig) -> OwnWeights:
    """Weights of an image tower without blocks, which learns as a whole.

    Raises:
        ValueError: if the options name parts of it, or leave nothing to learn.
    """
    of_parts = {name: getattr(config, name) for name in ("last_blocks", "ends", "embeddings", "layer_decay")}
    given = {name: value for name, value in of_parts.items() if value != getattr(FullConfig(), name)}
    visual = backbone.model.visual
    if given:
        words = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ValueError(
            f"full with {words} needs an image tower with the blocks of a vision transformer, and {backbone.name} has "
            f"{why_no_vision_tower(visual)}; leave that out, so that all of it learns, or use a ViT such as ViT-B-16"
        )
    own = with_whole_own(visual, norms_only=config.norms_only)
    if not own.origins:
        raise ValueError(
            f"full with norms_only=True leaves no weight to learn in the image tower of {backbone.name}, which has no "
            'layer norms; leave it out, or take encoder="text"'
        )
    return own


def _last(tower: TextTower | VisionTower, count: int | None) -> Sequence[int]:
    """Numbers of the last blocks, without those that the tower skips for good."""
    first = 0 if count is None else max(0, tower.depth - count)
    return [layer for layer in chosen_layers((), tower, "last_blocks") if layer >= first]


def _named(prefix: str, found: dict[str, int]) -> dict[str, int]:
    return {f"{prefix}.{name}": value for name, value in found.items()}

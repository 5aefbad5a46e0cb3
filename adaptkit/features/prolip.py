"""ProLIP: the image tower's last projection is trained alone, and held near where it was; no validation images.

Fahes et al., "CLIP's Visual Embedding Projector is a Few-shot Cornucopia", arXiv:2410.05270. With what the frozen tower
pools of an image, u (width), the projection P (width, D), which starts at P_0, and class weights T (C, D):
    logits = exp(logit_scale) cos(u P, T)
    loss = cross-entropy + lambda |P - P_0|^2,    lambda = 1 / K for K shots
The distance is a sum over all entries, so lambda belongs to a width: on a wider tower the same lambda holds tighter.
In a ResNet, P is the output projection of the attention pool, whose bias stays frozen.

Rows u are encoded once and kept; where the image tower has no blocks that give rows, it runs in every step.

Departure: the released code multiplies cosines by 100; this takes CLIP's own scale, which is 100 for OpenAI's models.
Departure: the released code shows view i + 1 of all images in step i, of 300 views kept; here, too, each step has new
    views, drawn by the seed. Its search of rates on validation images is left out.
"""

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.images import as_preprocessed, size_blamed
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Consumes, Support
from adaptkit.contract.registry import register_method
from adaptkit.contract.replicas import Replicas
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.layers.own_projection import OwnProjection
from adaptkit.layers.replica_steps import backward_each, cross_entropies, module_each
from adaptkit.options import option, options

# Where towers without blocks keep their projection: open_clip's ResNets, and timm's behind a linear head.
PLACES = ("attnpool.c_proj.weight", "head.proj.weight")


@options
class ProLIPConfig:
    weight: Literal["inverse", "inverse_square", "constant"] = option(
        "inverse", "Lambda for K images of a class: 1 / K, 1 / K^2, or the constant below."
    )
    constant: float = option(1.0, "Lambda where the weight is constant.", least=0)


@register_method("prolip", ProLIPConfig, touches="after")
class ProLIP(AdaptedCLIP):
    """Class token rows (B, 1, width), or images, through a learnt projection against class weights (C, D)."""

    consumes: Consumes = "tokens"
    first_row_only = True
    takes_sentences = True
    provides = frozenset({"backward_replicas", "prepare", "class_weights", "encode_text", "start_state"})
    shots: Tensor

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: ProLIPConfig):
        projection = _projection_of(backbone)
        vision = backbone.vision_tower
        if vision is not None:
            homes = tuple(home for home in vision.homes if home.field != "projection")
            backbone = backbone.with_towers(vision=replace(vision, projection=projection, homes=homes))
        super().__init__(backbone, classes)
        if vision is None:
            self.consumes, self.provides = "images", self.provides - {"backward_replicas"}
        self.config, self.projection = config, projection
        self.register_buffer("shots", torch.ones((), device=backbone.device), persistent=False)  # K
        self.prompts = ClassPrompts(self.backbone, classes)

    def prepare(self, support: Support) -> None:
        """Learn how many images a class has: K, their mean over the classes that have any."""
        self.shots.fill_(len(support.labels) / max(1, len(support.labels.unique())))

    @property
    def strength(self) -> float:
        """Lambda, the weight of the squared distance; before `prepare` it is that of one shot."""
        return float(self._strength(self.shots))

    def _strength(self, shots: Tensor) -> Tensor:
        """Lambda for K shots."""
        if self.config.weight == "constant":
            return torch.full_like(shots, self.config.constant)
        return 1 / shots if self.config.weight == "inverse" else 1 / shots.square()

    def encode_image(self, images: Tensor) -> Tensor:
        if self.backbone.has_vit_blocks:
            return self.backbone.encode_image(images)
        images = as_preprocessed(images, self.backbone)
        with size_blamed(images, self.backbone):
            return self.projection(images.to(self.backbone.dtype))

    def logits(self, x: Tensor) -> Tensor:
        """Output rows (B, 1 + P, width), or images (B, 3, H, W) where the tower has no blocks -> logits (B, C)."""
        features = self.encode_image(x) if self.consumes == "images" else self.backbone.project_tokens(x[:, 0])
        return self.backbone.logits(features, self.current_class_weights())

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(x), labels) + self.regularizer(x, labels)

    def regularizer(self, x: Tensor, labels: Tensor) -> Tensor:
        frozen = _frozen_matrix(self.backbone.as_loaded())
        return self._strength(self.shots) * self.projection.distance_from(frozen)

    def backward_replicas(self, replicas: Replicas, x: Tensor, labels: Tensor) -> Tensor:
        matrices, shots = replicas.learnt["projection.weight"], replicas.own.get("shots", self.shots)  # (R, width, D)
        rows = self.backbone.require_vit_blocks("prolip").normed(x[..., 0, :].to(self.backbone.dtype))  # (R, B, width)
        features = module_each(self.projection, "projection", replicas, rows)  # (R, B, D)
        frozen = _frozen_matrix(self.backbone.as_loaded()).to(matrices)
        distances = (matrices - frozen).square().sum(dim=(-2, -1))  # (R,)
        cross_entropy = cross_entropies(self.backbone.logits(features, self.current_class_weights()), labels)
        return backward_each(cross_entropy + self._strength(shots) * distances)

    def class_weights(self) -> Tensor:
        return self.prompts()  # (C, D)

    def start_state(self) -> dict[str, Tensor]:
        return {"projection.weight": at_least_fp32(_frozen_matrix(self.backbone.as_loaded()).detach())}

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self.classes)


def _projection_of(backbone: FrozenCLIP) -> OwnProjection:
    frozen, name = _place(backbone)
    try:
        if frozen is None:
            raise ValueError("none")
        return OwnProjection(frozen, name)
    except ValueError as error:
        raise ValueError(
            f"prolip learns the matrix that projects an image into the joint space, and the image tower of "
            f'{backbone.name} has {error}; take clip_adapter, or clip_lora with encoder="vision"'
        ) from None


def _place(backbone: FrozenCLIP) -> tuple[Tensor | nn.Module | None, str]:
    """The projection of a backbone, and the matrix's name in it where it has to be told."""
    if backbone.has_vit_blocks:
        return backbone.require_vit_blocks("prolip").projection, ""
    visual = backbone.model.visual
    names = dict(visual.named_parameters())
    name = next((place for place in PLACES if place in names), "")
    return (visual if name else None), name


def _frozen_matrix(backbone: FrozenCLIP) -> Tensor:
    """P_0, as the backbone has it now."""
    frozen, name = _place(backbone)
    if isinstance(frozen, Tensor):
        return frozen
    assert frozen is not None
    return frozen.get_parameter(name or OwnProjection(frozen).name)

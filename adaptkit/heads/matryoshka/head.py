"""Matryoshka: image and text vectors whose prefixes are good vectors too, and exits of the image tower at less depth.

Kusupati et al., "Matryoshka Representation Learning", arXiv:2205.13147, and Li et al., "2D Matryoshka Sentence
Embeddings", arXiv:2402.14776, behind a frozen CLIP. For image features f, text features g, CLIP's scale s, sizes M, and
the features z_l of exits (exits.py) with the frozen feature f at full depth:
    L = sum_{m in M} c_m InfoNCE(s n(f R [:m]) n(g R [:m])^T) + lambda_o |R^T R - I|^2
        + lambda_d KL(softmax(s n(f) n(g)^T) || softmax(s n(f R) n(g R)^T))
        + sum_l (w_l sum_m c_m InfoNCE(s n(z_l R [:m]) n(g R [:m])^T) + T KL(full depth || depth l))
R starts as the identity, and at PCA's directions after `start` (rotation.py). The losses as released are in losses.py.

Departure: towers are frozen, so R has to order coordinates that stand in no order; the papers train towers for it.
Departure: distillation holds the full-size similarities, and R is held near orthogonal; both are ours.
Departure: exits learn all at once, and their KL is over the logits of the batch's texts, because CLIP's similarities
    are what is used; kl_on="coordinates" and exit_weight="formula" give the terms of 2DMSE.
Departure: rows of a batch with the same text belong together, as the images of a class do.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.images import as_preprocessed
from adaptkit.contract.adapted_towers import MethodSpec
from adaptkit.contract.head import Answer, Head
from adaptkit.contract.registry import register_head
from adaptkit.deployment.export import Exported, Format, export
from adaptkit.heads.matryoshka.exits import Exit, class_rows, tower_with_exits
from adaptkit.heads.matryoshka.losses import formula_factors, kl, prefix, weighted_sum
from adaptkit.heads.matryoshka.rotation import distillation, orthogonality, pca
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options

SMALLEST = 8  # of the sizes that are taken where none are given


@options
class MatryoshkaConfig:
    sizes: tuple[int, ...] = option((), "Sizes of prefixes; empty for 8, 16, 32, ... and the full size.", least=1)
    size_weights: tuple[float, ...] = option((), "Weight c of each size; empty for 1 each.", least=0)
    depths: tuple[int, ...] = option(
        (), "Numbers of blocks behind which the image tower has exits beside its end; empty for none.", least=1
    )
    maps: Literal["shared", "two"] = option(
        "shared", "One map R for both towers, which keeps CLIP's similarities, or one for each."
    )
    contrast: Literal["symmetric", "classes"] = option(
        "symmetric", "Images find their text and texts their images, or images alone find their text, as for classes."
    )
    orthogonality: float = option(1.0, "Weight of the distance of R from an orthogonal map.", least=0)
    distillation: float = option(1.0, "Weight of the KL that keeps the similarities of the full size.", least=0)
    exit_weight: Literal["uniform", "formula"] = option(
        "uniform", "The contrast of every exit counts alike, or as the formula weights its depth."
    )
    formula: Literal["347bbb6", "a9d33eb", "4e57965"] = option(
        "347bbb6", "Commit of the released 2DMSE whose factors the KL of an exit has."
    )
    kl_on: Literal["logits", "coordinates"] = option(
        "logits", "The KL of an exit is over logits of the texts, or over coordinates as released."
    )
    kl_temperature: float = option(1.0, "Temperature T of the KL of an exit.", above=0)
    depth: int = option(0, "Blocks that run for an answer: an exit's depth, or 0 for all.", least=0)
    dim: int = option(0, "Size of the vector that is answered, or 0 for the full size.", least=0)


@register_head("matryoshka", MatryoshkaConfig, touches="after")
class Matryoshka(Head):
    """Image features (B, D), or images where there are exits; what it computes are unit vectors (B, dim)."""

    def __init__(self, backbone: FrozenCLIP, config: MatryoshkaConfig):
        super().__init__(backbone)
        self.config, self.width = config, backbone.embed_dim
        self.sizes = checked_sizes(config.sizes, self.width)
        if config.size_weights and len(config.size_weights) != len(self.sizes):
            raise ValueError(
                f"size_weights={config.size_weights} for the sizes {self.sizes}; give one of each, or none"
            )
        self.tower = tower_with_exits(backbone, config.depths) if config.depths else None
        self.full_depth = self.tower.depth if self.tower else 0
        self.depths = tuple(sorted({*config.depths} - {self.full_depth}))
        self.consumes = "images" if self.tower else "features"
        self.exits = nn.ModuleDict({str(depth): Exit(self.tower) for depth in self.depths if self.tower})
        self.image_map = nn.Parameter(torch.eye(self.width))
        # A second name for the same parameter could not be traced.
        self.own_text_map = None if config.maps == "shared" else nn.Parameter(torch.eye(self.width))
        self.depth, self.dim = self.checked(config.depth, config.dim)
        self.to(backbone.device)

    def checked(self, depth: int = 0, dim: int = 0) -> tuple[int, int]:
        """A depth and a size with 0 replaced by the full ones.

        Raises:
            ValueError: if there is no exit at this depth, or the size is above that of the vectors.
        """
        if depth not in (0, self.full_depth, *self.depths):
            raise ValueError(
                f"depth={depth}, and this head answers at the depths {[*self.depths, self.full_depth]}; give one of "
                "them, or make the head with this depth among its depths"
            )
        if not 0 <= dim <= self.width:
            raise ValueError(f"dim={dim}; the vectors of {self.backbone.name} have 1 to {self.width} coordinates")
        return depth or self.full_depth, dim or self.width

    @property
    def text_map(self) -> nn.Parameter:
        """The map of texts (D, D), which is that of images where both share one."""
        return self.image_map if self.own_text_map is None else self.own_text_map

    @torch.no_grad()
    def start(self, image_features: Tensor, text_features: Tensor) -> None:
        """Start the map at PCA's directions of training features (N, D) and (M, D)."""
        directions = pca(image_features, text_features).to(self.image_map)
        self.image_map.copy_(directions)
        self.text_map.copy_(directions)

    # Vectors

    def encode(self, images: Tensor, depth: int = 0, dim: int = 0) -> Tensor:
        """Images (B, 3, H, W) -> unit vectors (B, dim) from `depth` blocks; 0 stands for all of either.

        Raises:
            ValueError: if there is no exit at this depth, or the size is above that of the vectors.
        """
        depth, dim = self.checked(depth, dim)
        return prefix(self.image_vectors(self.features_at(images, depth)), dim)

    def encode_texts(self, texts: Sequence[str], dim: int = 0) -> Tensor:
        """N texts -> unit vectors (N, dim), to compare with those of images of the same size.

        Raises:
            ValueError: if a text is longer than the context, or the size is above that of the vectors.
        """
        _, dim = self.checked(0, dim)
        with torch.no_grad():
            features = self.backbone.encode_text(texts)
        return prefix(self.text_vectors(features), dim)

    def features_at(self, images: Tensor, depth: int) -> Tensor:
        """Images -> features (B, D) of an exit, or the frozen tower's own at full depth; not rotated."""
        if self.tower is None or depth == self.full_depth:
            return self.backbone.encode_image(images)
        rows = class_rows(self.tower, as_preprocessed(images, self.backbone), (depth,))
        return self.exits[str(depth)](rows[:, 0])

    def image_vectors(self, features: Tensor) -> Tensor:
        """Image features (..., D) -> f R (..., D), not normalised."""
        return at_least_fp32(features) @ self.image_map.to(at_least_fp32(features))

    def text_vectors(self, features: Tensor) -> Tensor:
        """Text features (..., D) -> g R (..., D), not normalised."""
        return at_least_fp32(features) @ self.text_map.to(at_least_fp32(features))

    def outputs(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) where there are exits, else features (B, D) -> unit vectors (B, dim)."""
        features = self.features_at(x, self.depth) if self.tower else x
        return prefix(self.image_vectors(features), self.dim)

    def described(self, outputs: Tensor) -> list[Answer]:
        """The vector of each image."""
        return [{"vector": row} for row in outputs.tolist()]

    def served(self, depth: int = 0, dim: int = 0) -> "Matryoshka":
        """This head with another depth and size for its answers; what is learnt is shared with it."""
        depth, dim = self.checked(depth, dim)
        other = copy.copy(self)
        other.depth, other.dim = depth, dim
        other.config = replace(self.config, depth=depth if self.tower else 0, dim=dim)
        other.spec = None if self.spec is None else MethodSpec(self.spec.name, other.config)
        return other

    def export(self, path: str | Path, depth: int = 0, dim: int = 0, file_format: Format = "onnx") -> Exported:
        """Write a file from images to unit vectors (B, dim) that holds and runs `depth` blocks alone.

        Raises:
            ValueError: if there is no such depth or size, or the file computes something else.
            ImportError: if a package that the format needs is missing.
        """
        return export(self.served(depth, dim), path, file_format)

    # Learning

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        """What this head consumes, with the text features (B, D) of the texts that belong to its images -> scalar."""
        features, rows = (x, None) if self.tower is None else self.cached(x)
        return self.loss_of_cached(features, rows, targets)

    @torch.no_grad()
    def cached(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What can be kept of images (B, 3, H, W): features (B, D), and rows (B, E, D_v) of the exits or None."""
        if self.tower is None:
            return self.backbone.encode_image(images), None
        rows = class_rows(self.tower, as_preprocessed(images, self.backbone), (*self.depths, self.full_depth))
        return self.backbone.project_tokens(rows[:, -1]), rows[:, :-1]

    def loss_of_cached(self, features: Tensor, rows: Tensor | None, texts: Tensor) -> Tensor:
        """The loss of what `cached` keeps, with the text features (B, D) of the texts that belong to the images."""
        config, f = self.config, at_least_fp32(features)
        g, owners = torch.unique(at_least_fp32(texts), dim=0, return_inverse=True)  # (C, D), text of each image (B,)
        zi, zt, before = self.image_vectors(f), self.text_vectors(g), self.logits(f, g, self.width)
        loss = self.nested(zi, zt, owners)
        maps = [self.image_map] if config.maps == "shared" else [self.image_map, self.text_map]
        loss = loss + config.orthogonality * weighted_sum([orthogonality(rotation) for rotation in maps])
        loss = loss + config.distillation * distillation(before, self.logits(zi, zt, self.width))
        for number, depth in enumerate(self.depths):
            assert rows is not None
            z = self.image_vectors(self.exits[str(depth)](rows[:, number]))
            weight, factor = formula_factors(config.formula, depth, config.kl_temperature)
            loss = loss + (1.0 if config.exit_weight == "uniform" else weight) * self.nested(z, zt, owners)
            if config.kl_on == "logits":
                after = self.logits(z, zt, self.width)
                loss = loss + factor * distillation(before / config.kl_temperature, after / config.kl_temperature)
            else:
                loss = loss + factor * kl(zi, z, config.kl_temperature)
        return loss

    def logits(self, zi: Tensor, zt: Tensor, size: int) -> Tensor:
        """Scaled cosines (B, C) of prefixes of image vectors (B, D) and text vectors (C, D)."""
        return self.backbone.logit_scale.exp().to(zi) * prefix(zi, size) @ prefix(zt, size).T

    def nested(self, zi: Tensor, zt: Tensor, owners: Tensor) -> Tensor:
        """sum_m c_m InfoNCE of image vectors (B, D) and distinct text vectors (C, D); image b has text owners[b]."""
        losses = [self._contrast(self.logits(zi, zt, size), owners) for size in self.sizes]
        return weighted_sum(losses, self.config.size_weights or None)

    def _contrast(self, logits: Tensor, owners: Tensor) -> Tensor:
        """Cross-entropy of logits (B, C), and of texts among images, each image of a text counting alike."""
        loss = F.cross_entropy(logits, owners)
        if self.config.contrast == "classes":
            return loss
        own = F.one_hot(owners, logits.shape[1]).T.to(logits)  # (C, B)
        return (loss + F.cross_entropy(logits.T, own / own.sum(dim=1, keepdim=True))) / 2


def checked_sizes(given: Sequence[int], width: int) -> tuple[int, ...]:
    """The sizes of prefixes in ascending order; 8, 16, 32, ... and the full width where none are given.

    Raises:
        ValueError: if one is above the width.
    """
    for size in given:
        if size > width:
            raise ValueError(f"size {size} is above the {width} coordinates of the vectors; give sizes up to {width}")
    if given:
        return tuple(sorted({*given}))
    return (*(SMALLEST * 2**power for power in range(16) if SMALLEST * 2**power < width), width)

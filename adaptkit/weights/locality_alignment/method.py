"""Locality alignment: patch tokens that carry what is in their patch, by a LoRA of the image tower.

Covert et al., "Locality Alignment Improves Vision-Language Models", arXiv:2410.11087. `LocalityAligner` has the
training (MaskEmbed); this is the tower that it leaves behind.

Departure: in the paper all weights move; here the update is low-rank, so without it the tower is the frozen one.
Departure: the released student soft-caps its attention, 30 * tanh(a / 30); ours does where `soft_cap` asks for it.
Departure: the paper's tower feeds language models, so its pooled feature may change. Here `scope="patch"` leaves pooled
    features to the frozen tower, and with `scope="all"` the training holds them near.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.images import as_preprocessed
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.contract.registry import register_method
from adaptkit.layers.block_view import chosen_layers
from adaptkit.layers.lora_attention import LowRank
from adaptkit.layers.lora_tower import mlp_linears, with_updates
from adaptkit.layers.start_values import start_of
from adaptkit.options import option, options
from adaptkit.towers.vision import VisionTower, embed_patches, encode_rows, rows_behind_blocks
from adaptkit.towers.watch import current

Scope = Literal["all", "patch"]


@options
class LocalityAlignmentConfig:
    r: int = option(16, "Rank of the updates.", least=1)
    alpha: float = option(16.0, "The updates are scaled by alpha / r.", least=0)
    params: tuple[Literal["q", "k", "v", "o", "mlp"], ...] = option(
        ("q", "k", "v", "o", "mlp"), "Projections that are updated; mlp means every linear layer of the MLP."
    )
    vision_blocks: tuple[int, ...] = option((), "Blocks that are updated, negative ones from the last; none means all.")
    scope: Scope = option(
        "all", "What the updates reach: all features of an image, or patch tokens alone, which leaves pooled ones."
    )
    soft_cap: float = option(
        0.0, "Scores a of the updated tower's attention become c * tanh(a / c); 0 leaves them, released is 30.", least=0
    )

    def __post_init__(self) -> None:
        if not self.params:
            raise ValueError("params=(); name one or more of q, k, v, o and mlp")


@register_method("locality_alignment", LocalityAlignmentConfig, touches="inside")
class LocalityAlignment(AdaptedCLIP):
    """Image features (B, D) against the text features (C, D) of hand-written prompts, and patch tokens beside them.

    Example:
        ```python
        backbone = adaptkit.load_backbone("adaptkit-mini")
        method = adaptkit.create_method("locality_alignment", backbone, None, scope="patch")
        maps = method.patch_text_map(torch.randn(2, 3, 48, 48), ["a cat", "a car"])
        assert maps.shape == (2, 2, *method.grid)
        ```
    """

    is_usual = False  # made for patches, by `adaptkit align`
    consumes: Consumes = "images"
    takes_sentences = True
    provides = frozenset({"class_weights", "image_tokens", "encode_text", "start_state"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: LocalityAlignmentConfig):
        frozen = backbone.require_vit_blocks("locality_alignment")
        layers = chosen_layers(config.vision_blocks, frozen, "vision_blocks")
        updates = nn.ModuleDict({str(layer): _updates(frozen, layer, config) for layer in layers})
        aligned = _aligned(frozen, updates, config)
        super().__init__(backbone if config.scope == "patch" else backbone.with_towers(vision=aligned), classes)
        self.scope = config.scope
        self._towers = frozen, aligned
        self.vision_updates = updates  # layer -> projection -> LowRank
        self.prompts = ClassPrompts(self.backbone, classes, "classes", "shared")

    @property
    def frozen_tower(self) -> VisionTower:
        """The image tower without what was learnt."""
        return current(self._towers[0])

    @property
    def aligned_tower(self) -> VisionTower:
        """The image tower with what was learnt, whatever the scope."""
        return current(self._towers[1])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self._towers[0].grid

    def patch_tokens(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> patch tokens (B, P, D_v): rows of the last block, in front of the final norm."""
        tower = self.aligned_tower
        rows = rows_behind_blocks(tower, embed_patches(tower, as_preprocessed(images, self.backbone))).spread()
        return rows[:, tower.n_prefix :]

    def patch_text_map(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """Cosines of every patch with every text: images (B, 3, H, W) and T texts -> (B, T, rows, columns).

        Patches are projected as the pooled feature is, each as if it were pooled alone.

        Raises:
            ValueError: if there is no text, or one is longer than the context.
        """
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"texts={texts!r}; give a list of one or more texts")
        tower = self.aligned_tower
        rows = encode_rows(tower, as_preprocessed(images, self.backbone))[:, 1:]
        patches = F.normalize(tower.project(rows), dim=-1)  # (B, P, D)
        written = F.normalize(self.backbone.encode_text(texts), dim=-1)  # (T, D)
        return (patches @ written.T).transpose(1, 2).unflatten(2, self.grid)

    def image_tokens(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> the row that becomes the feature and the patches' (B, 1 + P, D_v), aligned."""
        tokens = self.backbone.encode_tokens(images)
        if self.scope == "all":
            return tokens
        aligned = encode_rows(self.aligned_tower, as_preprocessed(images, self.backbone))
        return torch.cat([tokens[:, :1], aligned[:, 1:]], dim=1)

    def logits(self, x: Tensor) -> Tensor:
        return self.backbone.logits(self.encode_image(x), self.current_class_weights())

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of images (B, 3, H, W) and labels (B,), which teaches the updates of scope "all".

        Raises:
            ValueError: if the scope is "patch", where labels teach nothing.
        """
        if self.scope == "patch" and self.training:
            raise ValueError(
                'locality_alignment with scope="patch" leaves pooled features as they are, so labels teach it nothing; '
                'align it on images (adaptkit align), or take scope="all"'
            )
        return F.cross_entropy(self.logits(x), labels)

    def class_weights(self) -> Tensor:
        return self.prompts()  # (C, D)

    def start_state(self) -> dict[str, Tensor]:
        return start_of(self, "vision_updates")

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self.classes)


def _updates(tower: VisionTower, layer: int, config: LocalityAlignmentConfig) -> nn.ModuleDict:
    """Fresh updates of one block: projection -> LowRank."""

    def update(width: int, out_width: int) -> LowRank:
        return LowRank(width, config.r, config.alpha / config.r, 0.0, tower.device, out_width=out_width)

    attention = [name for name in config.params if name != "mlp"]
    found: dict[str, nn.Module] = {str(name): update(tower.width, tower.width) for name in attention}
    if "mlp" in config.params:
        linears = mlp_linears(tower.blocks[layer])
        found |= {name: update(linear.in_features, linear.out_features) for name, linear in linears.items()}
    return nn.ModuleDict(found)


def _aligned(frozen: VisionTower, updates: nn.ModuleDict, config: LocalityAlignmentConfig) -> VisionTower:
    """The tower with the updates, and with a soft cap in every block where it is asked for."""
    if not config.soft_cap:
        return with_updates(frozen, updates)
    every = chosen_layers((), frozen, "vision_blocks")
    parts = {str(layer): updates[str(layer)] if str(layer) in updates else nn.ModuleDict() for layer in every}
    return with_updates(frozen, nn.ModuleDict(parts), config.soft_cap)

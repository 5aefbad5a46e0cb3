"""CLIP-LoRA: low-rank updates of the attention projections of both towers.

Zanella and Ben Ayed, "Low-Rank Few-Shot Adaptation of Vision-Language Models", arXiv:2405.18541. For a frozen
projection W, b and the input x of an attention layer:
    y = W x + b + s B A drop(x),    s = alpha / sqrt(r),    A (r, width) random, B (width, r) zero at the start
trained by cross-entropy over cosines.

Departure: like the released code, s is alpha / sqrt(r) and not the usual alpha / r.
Departure: the released code adds s B A to the frozen weights to merge and subtracts it again, which leaves rounding
    behind; here the merged weights are copies.
Departure: with dropout 0 the released code's gradients treat the layers above as if they had no update. Ours are exact,
    unless gradients="released" asks for the same.
Departure: the released code multiplies cosines by 100; this takes CLIP's own scale, which is 100 for OpenAI's models.
Departure: "all" blocks are all of them; the released list for ViT-L/14 ends three blocks early.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts, TemplateSet, TextNoise
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.contract.registry import register_method
from adaptkit.layers.block_view import chosen_layers, require_text_blocks
from adaptkit.layers.lora_attention import LoRAAttention, LowRank
from adaptkit.layers.lora_tower import with_updates
from adaptkit.layers.start_values import start_of
from adaptkit.options import option, options
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower


@options
class CLIPLoRAConfig:
    r: int = option(2, "Rank of the updates.", least=1)
    alpha: float = option(1.0, "The updates are scaled by alpha / sqrt(r).", least=0)
    dropout: float = option(0.25, "Dropout of the updates' input, in training.", least=0, below=1)
    gradients: Literal["exact", "released"] = option(
        "exact", "With dropout 0, the gradients of the function, or those of the released code."
    )
    params: tuple[Literal["q", "k", "v", "o"], ...] = option(("q", "k", "v"), "Projections that are updated.")
    encoder: Literal["both", "text", "vision"] = option("both", "Towers that are updated.")
    text_blocks: tuple[int, ...] = option(
        (), "Text blocks that are updated, negative ones from the last; none means all."
    )
    vision_blocks: tuple[int, ...] = option(
        (), "Vision blocks that are updated, negative ones from the last; none means all."
    )
    text_noise: TextNoise = option(
        "per_class",
        "Dropout of the words that prompts share: of each class as released, or once, which is half the work.",
    )
    template_set: TemplateSet = option(
        "classes", 'The classes\' own templates, or "a photo of a {}." for every data set, as released.'
    )

    def __post_init__(self) -> None:
        if not self.params:
            raise ValueError("params=(); name one or more of q, k, v and o")


@register_method("clip_lora", CLIPLoRAConfig, touches="inside")
class CLIPLoRA(AdaptedCLIP):
    """Image features (B, D) against the text features (C, D) of hand-written prompts, through updated towers."""

    consumes: Consumes = "images"
    takes_sentences = True
    provides = frozenset({"class_weights", "image_tokens", "encode_text", "start_state"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: CLIPLoRAConfig):
        text, vision = backbone.text_tower, backbone.vision_tower
        text_updates, vision_updates = nn.ModuleDict(), nn.ModuleDict()
        if config.encoder != "vision":
            text = require_text_blocks(backbone, "clip_lora")
            text_updates = low_rank_updates(text, chosen_layers(config.text_blocks, text, "text_blocks"), config)
            text = with_updates(text, text_updates)
        if config.encoder != "text":
            vision = backbone.require_vit_blocks(f'clip_lora with encoder="{config.encoder}"')
            vision_updates = low_rank_updates(
                vision, chosen_layers(config.vision_blocks, vision, "vision_blocks"), config
            )
            vision = with_updates(vision, vision_updates)
        super().__init__(backbone.with_towers(text=text, vision=vision), classes)
        self.frozen_towers = backbone.text_tower, backbone.vision_tower
        self.text_updates, self.vision_updates = text_updates, vision_updates  # layer -> projection -> LowRank
        if config.encoder == "text":
            self.consumes = "features"
        noise = config.text_noise if config.dropout else "shared"
        self.prompts = ClassPrompts(self.backbone, classes, config.template_set, noise)

    def logits(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W), or image features (B, D) if only the text tower is updated -> logits (B, C)."""
        image_features = self.encode_image(x) if self.consumes == "images" else x  # (B, D)
        return self.backbone.logits(image_features, self.current_class_weights())

    def image_tokens(self, images: Tensor) -> Tensor:
        return self.backbone.encode_tokens(images)

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(x), labels)

    def class_weights(self) -> Tensor:
        return self.prompts()  # (C, D)

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self.classes)

    def merge(self) -> None:
        """Fold the updates into copies of the weights: same logits in less time. Training or loading undoes it."""
        for _, attn in (*_updated(self.backbone.text_tower), *_updated(self.backbone.vision_tower)):
            attn.merge()

    def unmerge(self) -> None:
        """Put the updates beside the frozen weights again, which have not changed."""
        for _, attn in (*_updated(self.backbone.text_tower), *_updated(self.backbone.vision_tower)):
            attn.unmerge()

    def train(self, mode: bool = True) -> "CLIPLoRA":
        if mode:
            self.unmerge()
        return super().train(mode)

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        self.unmerge()
        super().load_learnt_state(state)

    def start_state(self) -> dict[str, Tensor]:
        return start_of(self, "text_updates", "vision_updates")

    def merge_and_unload(self) -> FrozenCLIP:
        """A plain backbone with the updates folded into its own weights; this method stays as it is."""
        text, vision = self.frozen_towers
        plain = copy.deepcopy(self.backbone.with_towers(text=text, vision=vision))
        plain.source = None  # No file holds these weights yet.
        plain.name = f"{self.backbone.name}+clip_lora"
        for ours, theirs in (
            (self.backbone.text_tower, plain.text_tower),
            (self.backbone.vision_tower, plain.vision_tower),
        ):
            for layer, attn in _updated(ours):
                assert theirs is not None
                attn.write_into(theirs.blocks[layer].attn)
        return plain


def low_rank_updates(tower: TextTower | VisionTower, layers: Sequence[int], config: CLIPLoRAConfig) -> nn.ModuleDict:
    """Fresh updates of some blocks: layer -> projection -> LowRank."""
    device, scale = tower.device, config.alpha / math.sqrt(config.r)
    detached = config.gradients == "released" and config.dropout == 0

    def update() -> LowRank:
        return LowRank(tower.width, config.r, scale, config.dropout, device, detached=detached)

    return nn.ModuleDict({str(layer): nn.ModuleDict({name: update() for name in config.params}) for layer in layers})


def _updated(tower: TextTower | VisionTower | None) -> Iterator[tuple[int, LoRAAttention]]:
    """Numbers and attention layers of the blocks that have updates."""
    for layer, block in enumerate(tower.blocks if tower is not None else ()):
        attn = getattr(block, "attn", None)  # A skipped block has none.
        if isinstance(attn, LoRAAttention):
            yield layer, attn

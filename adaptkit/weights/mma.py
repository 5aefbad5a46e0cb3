"""MMA: bottlenecks beside the upper blocks of both towers, with one small layer that the towers share.

Yang et al., "MMA: Multi-Modal Adapter for Vision-Language Models", CVPR 2024. Block l of either tower on its input x:
    x'  = x + attn(LN1(x))
    x'' = x' + mlp(LN2(x')) + s U_l(S_l(D_l(LN1(x)))),    D_l and S_l with a ReLU, S_l the same in both towers
trained by cross-entropy over cosines. s is 0.001, and the released code
(https://github.com/ZjjConan/VLM-MultiModalAdapter) multiplies the gradients of D, S and U by 1/s on their way back, so
that they learn as if s were 1; the rows below get their true gradient. Without that the adapters hardly move in the
paper's five epochs.

U starts random as D and S do, so the method does not start at zero-shot CLIP exactly: s alone keeps it near.

Where the towers differ in depth, block l of one is coupled to block l of the other, as in the released code, and the
last eight are those of the shorter tower.

Departure: blocks are numbered from 0. The released code's unused adapter in front of the first block does not exist.
Departure: a bottleneck as wide as a tower is a bottleneck like any other; the released code fails there.
Departure: adapters learn and compute in float32 on a half-precision backbone; the released code halves them, and 1/s
    then overflows.
Departure: the released code keeps its text features between evaluations; here other class names are encoded anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts, TemplateSet
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.contract.registry import register_method
from adaptkit.layers.block_view import BlockView, chosen_layers, require_text_blocks
from adaptkit.layers.coupled_branch import CoupledBranch, TowerEnds, he_normal
from adaptkit.options import option, options
from adaptkit.towers.block import Block, is_gone
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower

Tower = TypeVar("Tower", TextTower, VisionTower)

LAST_BLOCKS = 8  # The paper adapts blocks 5 to 12 of 12.


@options
class MMAConfig:
    bottleneck: int = option(32, "Width of the layer that the towers share.", least=1)
    scale: float = option(0.001, "Scale of what is added.", least=0)
    gradients: Literal["released", "exact"] = option(
        "released", "The adapters' gradients: as if the scale were 1, as released, or those of the function."
    )
    encoder: Literal["both", "text", "vision"] = option("both", "Towers with adapters.")
    blocks: tuple[int, ...] = option(
        (), "Blocks with adapters, negative ones from the last of the shorter tower; none means the last eight."
    )
    template_set: TemplateSet = option(
        "classes", 'The classes\' own templates, or "a photo of a {}." for every data set, as released.'
    )


@register_method("mma", MMAConfig, touches="inside")
class MMA(AdaptedCLIP):
    """Image features (B, D) against the text features (C, D) of hand-written prompts, through coupled adapters."""

    is_usual = False  # both towers in every step
    consumes: Consumes = "images"
    takes_sentences = True
    provides = frozenset({"class_weights", "image_tokens", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: MMAConfig):
        text, vision = backbone.text_tower, backbone.vision_tower
        towers = list[TextTower | VisionTower]()
        if config.encoder != "vision":
            text = require_text_blocks(backbone, "mma")
            towers.append(text)
        if config.encoder != "text":
            vision = backbone.require_vit_blocks(f'mma with encoder="{config.encoder}"')
            towers.append(vision)
        layers, width, device = _coupled_layers(config.blocks, towers), config.bottleneck, towers[0].device
        shared = nn.ModuleDict({str(layer): he_normal(width, width, device) for layer in layers})
        text_adapters, vision_adapters = nn.ModuleDict(), nn.ModuleDict()
        if text is not None and text in towers:
            text, text_adapters = _with_branches(text, shared, config)
        if vision is not None and vision in towers:
            vision, vision_adapters = _with_branches(vision, shared, config)
        super().__init__(backbone.with_towers(text=text, vision=vision), classes)
        self.text_adapters, self.vision_adapters = text_adapters, vision_adapters  # layer -> TowerEnds
        self.shared_adapters = shared  # layer -> the layer of both towers
        if config.encoder == "text":
            self.consumes = "features"
        self.prompts = ClassPrompts(self.backbone, classes, config.template_set)

    def logits(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W), or image features (B, D) if only the text tower has adapters -> logits (B, C)."""
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


def _coupled_layers(asked: Sequence[int], towers: Sequence[TextTower | VisionTower]) -> list[int]:
    """Numbers of the blocks with adapters, the same in all towers; a block that one of them skips for good is not."""
    shorter = min(towers, key=lambda tower: tower.depth)
    layers = chosen_layers(asked or range(shorter.depth)[-LAST_BLOCKS:], shorter, "blocks")
    return [layer for layer in layers if not any(is_gone(tower.blocks[layer]) for tower in towers)]


def _with_branches(tower: Tower, shared: nn.ModuleDict, config: MMAConfig) -> tuple[Tower, nn.ModuleDict]:
    """The same tower with a branch beside some blocks, and the tower's own layers of each: layer -> TowerEnds."""
    blocks, adapters, lifted = list[Block](tower.blocks), nn.ModuleDict(), config.gradients == "released"
    for key, between in shared.items():
        assert isinstance(between, nn.Linear)
        adapters[key] = ends = TowerEnds(tower.width, config.bottleneck, tower.device)
        branch = CoupledBranch(ends, between, config.scale, lifted=lifted)
        blocks[int(key)] = BlockView(blocks[int(key)], beside_block=branch)
    return replace(tower, blocks=blocks), adapters

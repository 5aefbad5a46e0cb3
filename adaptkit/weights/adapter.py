"""Bottleneck adapters: two small linear layers in every block, behind its sublayers or beside its MLP.

    A(x) = s (W_up act(W_down x + b_down) + b_up),    W_up and b_up zero at the start
serial, Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", arXiv:1902.00751, on the updates y of a block's
attention and of its MLP, before they are added to the residual stream:
    y' = y + A(y)
parallel, Chen et al., "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition", arXiv:2205.13535,
on the input of the MLP's half of a block:
    x' = x + MLP(LN(x)) + A(x)
Here both stand in CLIP's towers, and cross-entropy over cosines trains them. The defaults are AdaptFormer's (bottleneck
64, s 0.1, dropout 0.1 behind the activation); Houlsby's are form "serial", scale 1, dropout 0.

Departure: like AdaptFormer's released code, A takes x before the layer norm; its paper's formula normalises it first.
Departure: Houlsby's adapters start near zero and train the layer norms too; ours start at zero and train no more.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.classes.class_prompts import ClassPrompts, TemplateSet, TextNoise
from adaptkit.classes.class_set import ClassSet
from adaptkit.contract.method import AdaptedCLIP, Consumes
from adaptkit.contract.registry import register_method
from adaptkit.layers.block_view import BlockView, chosen_layers, require_text_blocks
from adaptkit.layers.bottleneck import Behind, Beside, Bottleneck
from adaptkit.options import option, options
from adaptkit.towers.block import Block
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower

Tower = TypeVar("Tower", TextTower, VisionTower)


@options
class AdapterConfig:
    form: Literal["parallel", "serial"] = option("parallel", "Beside the MLP, or behind attention and MLP.")
    bottleneck: int = option(64, "Width between the two layers of an adapter.", least=1)
    activation: Literal["relu", "gelu"] = option("relu", "The activation between the two layers.")
    scale: float = option(0.1, "Scale of what is added.", least=0)
    dropout: float = option(0.1, "Dropout behind the activation, in training.", least=0, below=1)
    encoder: Literal["both", "text", "vision"] = option("both", "Towers with adapters.")
    text_blocks: tuple[int, ...] = option((), "Text blocks with adapters, negative ones from the last; none means all.")
    vision_blocks: tuple[int, ...] = option(
        (), "Vision blocks with adapters, negative ones from the last; none means all."
    )
    text_noise: TextNoise = option(
        "per_class", "Dropout of the words that prompts share: of each class, or once for all."
    )
    template_set: TemplateSet = option(
        "classes", 'The classes\' own templates, or "a photo of a {}." for every data set.'
    )


@register_method("adapter", AdapterConfig, touches="inside")
class Adapter(AdaptedCLIP):
    """Image features (B, D) against the text features (C, D) of hand-written prompts, through towers with adapters."""

    consumes: Consumes = "images"
    takes_sentences = True
    provides = frozenset({"class_weights", "image_tokens", "encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: AdapterConfig):
        text, vision = backbone.text_tower, backbone.vision_tower
        text_adapters, vision_adapters = nn.ModuleDict(), nn.ModuleDict()
        if config.encoder != "vision":
            text = require_text_blocks(backbone, "adapter")
            layers = chosen_layers(config.text_blocks, text, "text_blocks")
            text, text_adapters = _with_adapters(text, layers, config)
        if config.encoder != "text":
            vision = backbone.require_vit_blocks(f'adapter with encoder="{config.encoder}"')
            layers = chosen_layers(config.vision_blocks, vision, "vision_blocks")
            vision, vision_adapters = _with_adapters(vision, layers, config)
        super().__init__(backbone.with_towers(text=text, vision=vision), classes)
        self.text_adapters, self.vision_adapters = text_adapters, vision_adapters  # layer -> Bottlenecks
        if config.encoder == "text":
            self.consumes = "features"
        noise = config.text_noise if config.dropout else "shared"
        self.prompts = ClassPrompts(self.backbone, classes, config.template_set, noise)

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


def _with_adapters(tower: Tower, layers: Sequence[int], config: AdapterConfig) -> tuple[Tower, nn.ModuleDict]:
    """The same tower with adapters in some blocks, and those adapters: layer -> one, or one for each sublayer."""
    device, blocks = tower.device, list[Block](tower.blocks)
    adapters = nn.ModuleDict()

    def bottleneck() -> Bottleneck:
        return Bottleneck(
            tower.width, config.bottleneck, device, config.activation, scale=config.scale, dropout=config.dropout
        )

    for layer in layers:
        block = blocks[layer]
        attention_scale, mlp_scale = (getattr(block, name, None) or nn.Identity() for name in ("ls_1", "ls_2"))
        if config.form == "serial":
            pair = nn.ModuleList(bottleneck() for _ in range(2))
            blocks[layer] = BlockView(block, ls_1=Behind(attention_scale, pair[0]), ls_2=Behind(mlp_scale, pair[1]))
            adapters[str(layer)] = pair
        else:
            adapter = bottleneck()
            ln = block.ln_2
            assert isinstance(ln, nn.Module)
            mlp = Beside(ln, block.mlp, mlp_scale, adapter)
            blocks[layer] = BlockView(block, ln_2=nn.Identity(), mlp=mlp, ls_2=nn.Identity())
            adapters[str(layer)] = adapter
    return replace(tower, blocks=blocks), adapters

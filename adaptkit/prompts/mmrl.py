"""MMRL: tokens of one learnt space enter the upper blocks of both towers, and are read back as a second image feature.

Guo and Gu, "MMRL: Multi-Modal Representation Learning for Vision-Language Models", arXiv:2503.08497. With the space R,
the maps v_l and t_l of `layers/representation.py`, image tokens e, text tokens w, and the blocks l = 6 .. 12 of 12:
    [e_l, _] = V_l([e_l-1, v_l(R)]),    [w_l, _] = T_l([w_l-1, t_l(R)])     the tokens enter at 6, and are set anew
    L1 = s n(f) n(g)^T,    L2 = s n(r) n(g)^T      f the class token's feature, r that of the tokens, g of the texts
    L  = alpha CE(L1) + (1 - alpha) CE(L2) + b (1 - mean cos(f, f0)) + b (1 - mean_c cos(g_c, g0_c))
f0 and g0 are the frozen features of the same view and the same prompts, n(.) has unit length. At use
    alpha L1 + (1 - alpha) L2    if every class of the list was trained
    L1                           otherwise: r knows the trained classes, f and g stay near CLIP
One class that was not trained is enough for L1 alone, for logits of both kinds in one list would not compare. The names
of the trained classes are kept with what is learnt. A class is trained once `begin_training` announces it, or `loss` is
called with gradients in training mode; before the first training the classes that the method was made for count: it is
they that it is going to learn.

MMRL++ (arXiv:2505.10088) is maps="shared", head="low_rank", token_share=0.9: one matrix for all blocks with a residual
for each, a head that starts as the backbone's projection, and tokens that keep a tenth of what the block before made.

Departure: logits have the backbone's scale, and its bias where it has one; the released code
    (https://github.com/yunncheng/MMRL) writes 100, which is what CLIP has.
Departure: the released code sets b for each data set, from 0.01 to 7; here it is 3 everywhere unless it is said.
Departure: the released code uses L1 for whatever is called new classes or another data set, also where that has classes
    of the training, as ImageNet's variants do.
Departure: in the image tower the tokens stand behind the patches, whose blocks see no order.
Departure: blocks are numbered from 0.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.images import as_preprocessed
from adaptkit.classes.class_prompts import ClassPrompts
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights
from adaptkit.contract.method import AdaptedCLIP
from adaptkit.contract.registry import register_method
from adaptkit.layers.block_view import chosen_layers
from adaptkit.layers.context import random_tokens
from adaptkit.layers.representation import EnteringSpace, LowRankHead, OwnHead, SeparateMaps, SharedMaps
from adaptkit.layers.text_state import names_as_tensor, read_names
from adaptkit.options import option, options
from adaptkit.towers.block import last_attending, run_block
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower, embed_patches, encode_patches, encode_with_tokens
from adaptkit.towers.watch import Kept

LAST_BLOCKS = 7  # The paper's tokens enter blocks 6 to 12 of 12.
NAMES = "trained_names"  # the tensor of `learnt_state` that says which classes were trained


@options
class MMRLConfig:
    n_tokens: int = option(5, "Learnt tokens of the space R.", least=1)
    width: int = option(512, "Width of the space R.", least=1)
    blocks: tuple[int, ...] = option(
        (), "Blocks that tokens enter, negative ones from the last of the shorter tower; none means the last seven."
    )
    alpha: float = option(
        0.7, "The share alpha of the class token's logits; the tokens' have the rest.", least=0, most=1
    )
    reg_weight: float = option(3.0, "The weight b that holds both features near the frozen ones.", least=0)
    maps: Literal["separate", "shared"] = option(
        "separate", "A matrix for each block, or one for all of a tower with a residual for each as MMRL++."
    )
    map_rank: int = option(4, "The rank of a shared map's residuals.", least=1)
    token_share: float = option(
        1.0,
        "The share of mapped tokens in front of later blocks; the rest is kept of the block before.",
        least=0,
        most=1,
    )
    head: Literal["own", "low_rank"] = option(
        "own", "The tokens' projection: one of its own from random, or the backbone's with a low-rank part as MMRL++."
    )
    head_rank: int = option(64, "The rank of the low-rank head.", least=1)


@dataclass(frozen=True)
class _Seen:
    """What both towers make of a batch."""

    of_class_token: Tensor  # L1 (B, C)
    of_tokens: Tensor  # L2 (B, C)
    gap: Tensor  # from the frozen features, a scalar


@register_method("mmrl", MMRLConfig, touches="before")
class MMRL(AdaptedCLIP):
    """Two image features (B, D) against text features (C, D) of hand-written prompts, with tokens in both towers."""

    is_usual = False  # both towers, and the frozen one beside, in every step
    consumes = "images"
    takes_sentences = True
    provides = frozenset({"encode_text"})

    def __init__(self, backbone: FrozenCLIP, classes: ClassSet, config: MMRLConfig):
        text_width, vision = backbone.text_width, backbone.require_vit_blocks("mmrl")
        text, device = backbone.text_tower, backbone.device
        assert text is not None
        towers: tuple[TextTower | VisionTower, ...] = (text, vision)
        shorter = min(towers, key=lambda tower: tower.depth)
        layers = chosen_layers(config.blocks or range(shorter.depth)[-LAST_BLOCKS:], shorter, "blocks")
        if not layers:
            raise ValueError(f"blocks={config.blocks} are skipped for good in {backbone.name}; name others")
        space = nn.Parameter(random_tokens(backbone, config.n_tokens, config.width))
        text_maps = _maps(text_width, len(layers), config, device)
        vision_maps = _maps(vision.width, len(layers), config, device)
        share = config.token_share
        text = replace(text, entering=EnteringSpace(space, text_maps, layers, share))
        seeing = replace(vision, entering=EnteringSpace(space, vision_maps, layers, share))
        super().__init__(backbone.with_towers(text, seeing), classes)
        self.config, self.first = config, layers[0]
        self.space, self.text_maps, self.vision_maps = space, text_maps, vision_maps
        width, dim = vision.row_width, backbone.embed_dim
        if config.head == "own":
            self.head: nn.Module = OwnHead(width, dim, device)
        else:
            self.head = LowRankHead(width, dim, config.head_rank, device)
        self.prompts = ClassPrompts(self.backbone, classes)
        self.kept = self._keep_frozen_text()
        self.trained_names, self.is_untrained = classes.readable, True

    def _keep_frozen_text(self) -> Kept:
        return self.backbone.keep_text(lambda: class_weights(self.backbone.as_loaded(), self.classes))

    @property
    def were_trained(self) -> bool:
        """Whether all classes of now were trained."""
        return bool(self.classes.readable) and set(self.classes.readable) <= set(self.trained_names)

    def begin_training(self, step_count: int) -> tuple[int, ...]:
        self._note_training()
        return (step_count,)

    def _note_training(self) -> None:
        if self.is_untrained:
            self.trained_names, self.is_untrained = self.classes.readable, False
        elif not self.were_trained:
            self.trained_names = tuple(dict.fromkeys((*self.trained_names, *self.classes.readable)))

    def logits(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> logits (B, C): of both features where all classes were trained, else L1."""
        if self.were_trained:
            return self.answer(*self.both_logits(images))
        return self.backbone.logits(self.encode_image(images), self.prompts())

    def both_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) -> L1 of the class token's feature and L2 of the tokens' (B, C), whatever was trained."""
        of_class_token, of_tokens = self.both_features(images)  # (B, D)
        text_features = self.prompts()  # (C, D)
        return self.backbone.logits(of_class_token, text_features), self.backbone.logits(of_tokens, text_features)

    def both_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) -> the class token's feature f, as `encode_image` gives it, and the tokens' r (B, D)."""
        tower = self.backbone.require_vit_blocks("mmrl")
        feature, rows = encode_with_tokens(tower, embed_patches(tower, as_preprocessed(images, self.backbone)))
        return feature, self.head(rows, tower)

    def answer(self, of_class_token: Tensor, of_tokens: Tensor) -> Tensor:
        """The logits of use from L1 and L2 (B, C)."""
        if not self.were_trained:
            return of_class_token
        return self.config.alpha * of_class_token + (1 - self.config.alpha) * of_tokens

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            self._note_training()
        seen = self._see(images)
        return self._cross_entropies(seen, labels) + self.config.reg_weight * seen.gap

    def regularizer(self, images: Tensor, labels: Tensor) -> Tensor:
        seen = self._see(images)
        answered = F.cross_entropy(self.answer(seen.of_class_token, seen.of_tokens), labels)
        return self._cross_entropies(seen, labels) - answered + self.config.reg_weight * seen.gap

    def _cross_entropies(self, seen: _Seen, labels: Tensor) -> Tensor:
        alpha = self.config.alpha
        of_tokens = F.cross_entropy(seen.of_tokens, labels)
        return alpha * F.cross_entropy(seen.of_class_token, labels) + (1 - alpha) * of_tokens

    def _see(self, images: Tensor) -> _Seen:
        """One pass of both towers, and of the frozen image tower from the first block that differs."""
        tower = self.backbone.require_vit_blocks("mmrl")
        frozen_tower = self.backbone.as_loaded().require_vit_blocks("mmrl")
        x = embed_patches(tower, as_preprocessed(images, self.backbone))  # (B, R, D_v)
        begin = self.first if _begin_alike(tower, frozen_tower, self.first) else 0
        for block in frozen_tower.blocks[:begin]:
            x = run_block(block, x)
        feature, rows = encode_with_tokens(tower, x, begin)
        with torch.no_grad():
            frozen = encode_patches(replace(frozen_tower, blocks=frozen_tower.blocks[begin:]), x)  # f0 (B, D)
        text_features = self.prompts()  # g (C, D)
        gaps = [1 - F.cosine_similarity(*pair).mean() for pair in ((feature, frozen), (text_features, self.kept()))]
        of_class_token = self.backbone.logits(feature, text_features)
        of_tokens = self.backbone.logits(self.head(rows, tower), text_features)
        return _Seen(of_class_token, of_tokens, gaps[0] + gaps[1])

    def rebuild_from_names(self) -> None:
        self.prompts.set_classes(self.backbone, self.classes)
        self.kept = self._keep_frozen_text()
        if self.is_untrained and not self.trained_names:  # made without classes
            self.trained_names = self.classes.readable

    def folds_classes(self) -> bool:
        return True

    def learnt_state(self) -> dict[str, Tensor]:
        """Copies of the learnt tensors, and the names of the trained classes."""
        return super().learnt_state() | {NAMES: names_as_tensor(self.trained_names)}

    def load_learnt_state(self, state: dict[str, Tensor]) -> None:
        """Put learnt tensors back, and the names of the classes that they were trained on where they have them.

        Raises:
            ValueError: if names, shapes or types are not this method's.
        """
        names = read_names(state[NAMES], NAMES) if NAMES in state else None
        super().load_learnt_state({name: tensor for name, tensor in state.items() if name != NAMES})
        if names is not None:
            self.trained_names, self.is_untrained = names, False

    def get_extra_state(self) -> Tensor:
        return names_as_tensor(self.trained_names)

    def set_extra_state(self, state: Tensor) -> None:
        self.trained_names, self.is_untrained = read_names(state, NAMES), False


def _maps(width_out: int, count: int, config: MMRLConfig, device: torch.device) -> SeparateMaps | SharedMaps:
    if config.maps == "separate":
        return SeparateMaps(config.width, width_out, count, device)
    return SharedMaps(config.width, width_out, count, config.map_rank, device)


def _begin_alike(tower: VisionTower, frozen: VisionTower, first: int) -> bool:
    """Whether both towers have the same first blocks, so that these run once for both."""
    if tower.shortens or first > last_attending(frozen.blocks):
        return False
    return all(own is other for own, other in zip(tower.blocks[:first], frozen.blocks[:first], strict=True))

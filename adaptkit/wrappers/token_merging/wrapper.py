"""Token merging: the image tower computes with fewer and fewer tokens; around any method, and nothing is learnt.

Bolya et al., "Token Merging: Your ViT But Faster", arXiv:2210.09461 (mode "merge"). Behind the attention of every block
the r most similar tokens merge into others (matching.py, schedule.py). With sizes m, the tokens that each stands for,
    A = softmax(Q K^T / sqrt(d) + log m),
so that a merged token draws as much attention as those that it is made of. The gradual merging of SimVLG (Wang et al.,
"Expedited Training of Visual Conditioned Language Generation via Redundancy Reduction", arXiv:2310.03291) is
average="plain", proportional=False.

Endo et al., "Feather the Throttle: Revisiting Visual Token Pruning for Vision-Language Model Acceleration",
arXiv:2412.13180 (mode "prune"): two blocks keep the patches that get most attention, and a grid of them (pruning.py).
Mode "fold", ours, merges each dropped patch into the most similar kept one, with sizes as above.

Class tokens, register tokens and the prompts of an inner method never merge and are never dropped. What pools all rows
sees a merged row as often as its size says.

Departure: SimVLG merges in a connector before a language model, and FEATHER prunes inside of one. Here CLIP's own image
    tower is shortened.
Departure: a class token alone makes the feature of most towers, so their last block merges nothing behind it.
Departure: FEATHER prunes at blocks 8 and 16 of 32, keeps 30 % and 9 %, and asks with the weights of the block before.
    Here a quarter and half of the depth keep 50 % each, and the block itself is asked, because CLIP's tower sees
    nothing but the image.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.architecture import Architecture, TowerPlan
from adaptkit.contract.registry import register_wrapper
from adaptkit.contract.wrapper import MakeInner, MethodWrapper
from adaptkit.layers.macs import image_lengths, image_shape, macs_behind_blocks, text_shape, tower_macs
from adaptkit.towers.block import is_gone
from adaptkit.towers.shortening import lengths
from adaptkit.towers.vision import VisionTower
from adaptkit.wrappers.token_merging.config import TokenMergingConfig
from adaptkit.wrappers.token_merging.pruning import grid_positions
from adaptkit.wrappers.token_merging.schedule import linear_schedule, listed_schedule
from adaptkit.wrappers.token_merging.tower import Merging, Pruning, Stage

Self = TypeVar("Self", bound="TokenMerging")


@register_wrapper("token_merging", TokenMergingConfig)
class TokenMerging(MethodWrapper):
    """The inner method on an image tower that merges or drops tokens on the way."""

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: TokenMergingConfig):
        tower = backbone.require_vit_blocks("token_merging")
        self._refuse(backbone, tower)
        shortening = None if _asks_for_nothing(config) else shortening_of(tower, config)
        if shortening is not None:
            backbone = backbone.with_towers(vision=replace(tower, shortening=shortening))
        super().__init__(backbone, make_inner(backbone))
        self.config, self.shortening = config, shortening
        if shortening is not None:
            self.consumes = "images"  # Kept features and rows are those of the whole tower.
            shortening.active = config.in_training  # A new module is in training mode.

    @staticmethod
    def _refuse(backbone: FrozenCLIP, tower: VisionTower) -> None:
        """Refuse towers whose tokens cannot merge.

        Raises:
            ValueError: says why.
        """
        if tower.shortening is not None:
            raise ValueError(
                "token_merging stands around token_merging, and a tower is shortened once; name it once, with "
                "r_per_block for a schedule of its own"
            )
        if any(getattr(block.attn, "positions", None) is not None for block in tower.blocks if not is_gone(block)):
            raise ValueError(
                f"token_merging gives tokens new places, and in the image tower of {backbone.name} attention reads "
                "positions from places (rotary or relative ones); use a backbone whose positions are added in front "
                "of the blocks, such as ViT-B-16"
            )

    def train(self: Self, mode: bool = True) -> Self:
        """Enter a mode; with `in_training` off, only eval mode has the fewer tokens."""
        if self.shortening is not None:
            self.shortening.active = self.config.in_training or not mode
        return super().train(mode)

    def tokens_per_block(self) -> tuple[int, ...]:
        """Class token, register tokens and patches behind each block of the image tower, without prompts."""
        tower = self.innermost.backbone.require_vit_blocks("token_merging")
        skipped = [layer for layer, block in enumerate(tower.blocks) if is_gone(block)]
        found = image_lengths(self.innermost.backbone, skipped)
        return found or (tower.n_prefix + tower.n_patches,) * tower.depth

    def architecture(self) -> Architecture | None:
        """What the towers cost with the fewer tokens, with the blocks that the inner method skips, if it does."""
        inner = super().architecture()
        if inner is not None or self.shortening is None:
            return inner  # Its costs count the tokens of the tower that it was given.
        loaded = self.backbone.as_loaded()
        shape = image_shape(loaded)
        macs = {"image": tower_macs(shape, behind=image_lengths(self.backbone)), "image_as_loaded": tower_macs(shape)}
        macs["image"] += macs_behind_blocks(self.backbone)
        text_depth = 0
        if loaded.text_tower is not None:
            macs["class"] = macs["class_as_loaded"] = tower_macs(text_shape(loaded))
            text_depth = loaded.text_tower.depth
        return Architecture(TowerPlan(shape.depth), TowerPlan(text_depth), macs=macs)


def _asks_for_nothing(config: TokenMergingConfig) -> bool:
    """Whether the options say that nothing is to be merged."""
    return config.mode == "merge" and not (any(config.r_per_block) if config.r_per_block else config.r)


def shortening_of(tower: VisionTower, config: TokenMergingConfig) -> Merging | Pruning:
    """What the options make of a tower.

    Raises:
        ValueError: if they name blocks that it does not have, or nothing could be merged or dropped.
    """
    tokens = tower.n_prefix + tower.n_patches
    made: Merging | Pruning
    if config.mode == "merge":
        if config.r_per_block:
            counts = listed_schedule(config.r_per_block, tower.depth)
        else:
            counts = linear_schedule(config.r, config.inflect, tower.depth)
        made = Merging(counts, tower.n_prefix, config.average, config.proportional)
    else:
        made = Pruning(
            _stages(tower, config), tower.n_prefix, tower.n_prefix > 0, config.mode == "fold", config.proportional
        )
    skipped = [layer for layer, block in enumerate(tower.blocks) if is_gone(block)]
    if lengths(made, tower.depth, tokens, skipped, shortens_last=tower.pool is not None)[-1] == tokens:
        asked = f"r_per_block={config.r_per_block}" if config.r_per_block else f"r={config.r}, inflect={config.inflect}"
        if config.mode != "merge":
            asked = f"prune_at={config.prune_at}, keep={config.keep}, grid_stride={config.grid_stride}"
        raise ValueError(
            f"mode={config.mode!r} with {asked} takes none of the {tokens} tokens out of this image tower of "
            f"{tower.depth} blocks; ask for more in earlier blocks (behind the last block a class token alone counts), "
            "or for r=0, which leaves the tower as it is"
        )
    return made


def _stages(tower: VisionTower, config: TokenMergingConfig) -> tuple[Stage, ...]:
    """The stages of pruning that drop anything.

    Raises:
        ValueError: if one is at a block that the tower does not have.
    """
    blocks: Sequence[int] = config.prune_at
    if not blocks:
        blocks = [round(tower.depth / 4), round(tower.depth / 2)][: len(config.keep)]
    for block in blocks:
        if block >= tower.depth:
            raise ValueError(f"prune_at={config.prune_at}; the image tower has blocks 0 to {tower.depth - 1}")
    stages: list[Stage] = []
    patches = tower.n_patches
    for number, (block, share) in enumerate(zip(blocks, config.keep, strict=True)):
        always = torch.empty(0, dtype=torch.int64)
        if number == 0 and config.grid_stride:
            always = grid_positions(*tower.grid, config.grid_stride)
        stage = Stage(block, patches, max(1, int(patches * share)), always)
        if stage.left < patches:
            stages.append(stage)
            patches = stage.left
    return tuple(stages)

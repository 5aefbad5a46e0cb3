"""DAS: whole blocks of the frozen towers are skipped, and light adapters learn the missing part; around any method.

Wu et al., "Parameter and Computation Efficient Transfer Learning for Vision-Language Pre-trained Models",
arXiv:2309.01479. With A(x) = s Up(ReLU(Down(LN(x)))) a skipped block is x + A(x), a kept one has A beside its MLP; the
adapters and the inner method's own tensors are all that learns. A search chooses the skipped blocks first
(search.py): sub-networks are trained in turn, and gates learn from their rewards which blocks are missed least.

Ours: two towers, each with its own gates and number of skipped blocks; rewards on held-out training images; the
advantage divided by its standard deviation; Up starts at zero, so that a fresh adapter changes nothing.
The published form is init="normal", kept="both", advantage="baseline", eta=1.0 and kept bottlenecks of 96.

A skipped block does not run and keeps nothing. Deep prompts of an inner method keep their layers: prompts of a skipped
block pass through its adapter, so they have an effect only where the next block has no prompts of its own.
"""

from dataclasses import replace

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.contract.architecture import Architecture, ArchitectureSearch, Choice, TowerPlan
from adaptkit.contract.method import Support
from adaptkit.contract.registry import register_wrapper
from adaptkit.contract.wrapper import MakeInner, MethodWrapper
from adaptkit.layers.block_view import require_text_blocks
from adaptkit.layers.macs import AdapterShape, image_lengths, image_shape, macs_behind_blocks, text_shape, tower_macs
from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower
from adaptkit.wrappers.das.blocks import AdaptedTower, Tower
from adaptkit.wrappers.das.config import DASConfig
from adaptkit.wrappers.das.drift import Drift
from adaptkit.wrappers.das.linear_fit import fit_image_stand_ins, fit_text_stand_ins
from adaptkit.wrappers.das.search import GreedySearch, RewardSearch
from adaptkit.wrappers.das.stand_ins import read_gates, read_stand_ins

FITTED_IMAGES = 2048  # Largest number of images to fit stand-ins on; 1.2 GB at 224 pixels.


@register_wrapper("das", DASConfig)
class DAS(MethodWrapper):
    """The inner method on towers with skipped blocks and adapters.

    A method with blocks still to be searched has all of them, and an adapter for each; `search` gives the search for a
    trainer to step through, and the method is then made anew without the chosen blocks.
    """

    provides = frozenset({"prepare", "backward"})

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: DASConfig):
        depths = _depths(backbone, config)
        choice = _choice(config, depths)
        text: AdaptedTower[TextTower] | None = None
        vision: AdaptedTower[VisionTower] | None = None
        if config.encoder != "vision":
            tower = require_text_blocks(backbone, "das")
            widths = config.skip_bottleneck_text, config.kept_bottleneck_text
            text = _adapted(tower, config, widths, config.skip_text, None if choice is None else choice.text)
        if config.encoder != "text":
            widths = config.skip_bottleneck_vision, config.kept_bottleneck_vision
            skipped = None if choice is None else choice.vision
            vision = _adapted(backbone.require_vit_blocks("das"), config, widths, config.skip_vision, skipped)
        view = backbone.with_towers(
            text=None if text is None else text.tower, vision=None if vision is None else vision.tower
        )
        inner = make_inner(view)
        super().__init__(view, inner)
        self.text_adapters, self.vision_adapters = text, vision
        self.config, self.depths, self.choice = config, depths, choice
        if config.encoder != "text":
            self.consumes = "images"
        self.provides = inner.provides | {"prepare"} if self._fits else inner.provides
        if "prepare" not in inner.provides:
            self.support_items = FITTED_IMAGES
        self._drift = Drift(view, self.classes, vision is not None) if config.distill else None
        self._support: Support | None = None

    def search(self) -> ArchitectureSearch | None:
        if self.choice is not None:
            return None
        greedy = self.config.select == "greedy"
        kind = GreedySearch if greedy else RewardSearch
        search = kind(
            self.config, self.depths, self.use, lambda found: with_macs(found, self.innermost.backbone, self.config)
        )
        if self.config.init == "distilled" and self.config.skip_vision and not greedy:  # A greedy gate is a loss.
            search.first_gates = lambda: read_gates(self.config.stand_ins, self.backbone.as_loaded(), self.depths[0])
        return search

    def use(self, choice: Choice) -> None:
        """Skip these blocks, in a method that was made for the search."""
        for adapters, skipped in ((self.vision_adapters, choice.vision), (self.text_adapters, choice.text)):
            if adapters is not None:
                adapters.use(skipped)

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        given = self.inner_input(x)
        loss = self.inner.loss(given, labels)
        return loss if self._drift is None else loss + self.drift_term(x, given)

    def backward(self, x: Tensor, labels: Tensor) -> Tensor:
        if self._drift is not None and "backward" not in self.inner.provides:
            return super().backward(x, labels)  # One graph holds the whole loss.
        loss = self.inner.backward(self.inner_input(x), labels)
        if self._drift is None:
            return loss
        drift = self.drift_term(x)
        drift.backward()
        return loss + drift.detach()

    def regularizer(self, x: Tensor, labels: Tensor) -> Tensor | None:
        inner = super().regularizer(x, labels)
        if self._drift is None:
            return inner
        return self.drift_term(x) if inner is None else inner + self.drift_term(x)

    def drift_term(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """The term of `distill` in the loss; `given` is x as the inner method consumes it, if known."""
        assert self._drift is not None
        features = given if self.inner.consumes == "features" else None
        return self.config.distill * self._drift(x, features)

    def rebuild_from_names(self) -> None:
        if self._drift is not None:
            self._drift.set_classes(self.classes)

    @property
    def _fits(self) -> bool:
        """Whether `prepare` fits stand-ins; otherwise it only passes the support to the inner method."""
        return self.config.init in ("fitted", "distilled") and bool(self.config.skip_vision or self.config.skip_text)

    def prepare(self, support: Support) -> None:
        if self._fits:
            self._fit_stand_ins(support)
        self._support = support if self.inner.prepares_again else None
        super().prepare(support)

    def _fit_stand_ins(self, support: Support) -> None:
        gone = Choice((), ()) if self.choice is None else self.choice
        loaded = self.backbone.as_loaded()
        if self.vision_adapters is not None:
            if self.config.init == "fitted":
                images = support.x.flatten(0, 1) if support.x.ndim == 5 else support.x  # (N * V, 3, H, W) for V views
                fit_image_stand_ins(loaded, self.vision_adapters.stand_ins(), images, gone.vision)
            elif self.config.skip_vision:
                read_stand_ins(self.config.stand_ins, loaded, self.vision_adapters)
        if self.text_adapters is not None:
            fit_text_stand_ins(loaded, self.text_adapters.stand_ins(), self.classes, gone.text)

    def after_epoch(self, epoch: int) -> None:
        if self._support is not None and self.consumes != self.inner.consumes:
            super().prepare(self._support)  # The tower has changed since the images were encoded.
        super().after_epoch(epoch)

    def architecture(self) -> Architecture:
        """The skipped blocks, and their cost.

        Raises:
            ValueError: if the blocks have not been chosen.
        """
        if self.choice is None:
            raise ValueError("the blocks to skip have not been searched yet; search first, or give them")
        vision, text = (TowerPlan(depth, skipped) for depth, skipped in zip(self.depths, self.choice, strict=True))
        return with_macs(Architecture(vision, text, self.config.select), self.innermost.backbone, self.config)


def _depths(backbone: FrozenCLIP, config: DASConfig) -> tuple[int, int]:
    """Numbers of blocks of the image tower and the text tower; 0 for a tower without blocks that stays as it is.

    Raises:
        ValueError: if a tower to be changed has no blocks, or fewer than are to be skipped.
    """
    vision, text = backbone.vision_tower, backbone.text_tower
    if config.encoder != "text":
        vision = backbone.require_vit_blocks(f'das with encoder="{config.encoder}"')
    if config.encoder != "vision":
        text = require_text_blocks(backbone, "das")
    depths = (0 if vision is None else vision.depth, 0 if text is None else text.depth)
    for name, skip, depth in zip(("vision", "text"), (config.skip_vision, config.skip_text), depths, strict=True):
        if skip > depth:
            raise ValueError(f"skip_{name}={skip}; the {name} tower of {backbone.name} has {depth} blocks")
    return depths


def _choice(config: DASConfig, depths: tuple[int, int]) -> Choice | None:
    """The blocks to skip, or None if a search has to find them."""
    counts = (config.skip_vision, config.skip_text)
    if not any(counts):
        return Choice((), ())
    if config.select == "given":
        given = (config.vision_blocks, config.text_blocks)
        plans = [TowerPlan(depth, blocks) for depth, blocks in zip(depths, given, strict=True)]
        return Choice(*(plan.skipped for plan in plans))
    if config.select == "first":
        return Choice(*(tuple(range(count)) for count in counts))
    if config.select == "last":
        return Choice(*(tuple(range(depth - count, depth)) for depth, count in zip(depths, counts, strict=True)))
    if config.select == "random":
        generator = torch.Generator().manual_seed(config.draw)
        drawn = [
            torch.randperm(depth, generator=generator)[:count] for depth, count in zip(depths, counts, strict=True)
        ]
        return Choice(*(tuple(sorted(blocks.tolist())) for blocks in drawn))
    return None


def _adapted(
    tower: Tower, config: DASConfig, widths: tuple[int, int], count: int, skipped: tuple[int, ...] | None
) -> AdaptedTower[Tower]:
    """A tower with the adapters that the options ask for.

    Args:
        widths: bottleneck widths of a stand-in, and of an adapter beside a kept block.
        count: number of blocks that the tower is to lose.
        skipped: those blocks, or None before the search.
    """
    skip, kept = widths
    return AdaptedTower(
        tower,
        skipped if count else (),
        skip_bottleneck=skip,
        kept_bottleneck=kept,
        kept=config.kept,
        init=config.init,
        form=config.skip_form,
        scale=config.scale,
    )


def with_macs(architecture: Architecture, backbone: FrozenCLIP, config: DASConfig) -> Architecture:
    """The architecture with multiply-accumulates: of the image tower per image, of the text tower per class.

    They follow formulas over all rows of every block, beside those of the towers as loaded; see layers/macs.py.

    Args:
        backbone: as the method inside of all wrappers has it, because another wrapper may shorten the image tower.
    """
    per_kept = {"none": 0, "mlp": 1, "both": 2}[config.kept]
    loaded, macs = backbone.as_loaded(), {}
    if loaded.vision_tower is not None:
        shape = image_shape(loaded)
        widths = AdapterShape(config.skip_bottleneck_vision, config.kept_bottleneck_vision, per_kept)
        adapters = None if config.encoder == "text" else widths
        skipped = architecture.vision.skipped
        macs["image"] = tower_macs(shape, skipped, adapters, behind=image_lengths(backbone, skipped))
        macs["image"] += macs_behind_blocks(backbone, skipped)
        macs["image_as_loaded"] = tower_macs(shape)
    if loaded.text_tower is not None:
        shape = text_shape(loaded)
        widths = AdapterShape(config.skip_bottleneck_text, config.kept_bottleneck_text, per_kept)
        adapters = None if config.encoder == "vision" else widths
        macs["class"] = tower_macs(shape, architecture.text.skipped, adapters)
        macs["class_as_loaded"] = tower_macs(shape)
    return replace(architecture, macs=macs)

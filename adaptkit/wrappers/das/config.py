"""The options of DAS."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from adaptkit.contract.architecture import Architecture
from adaptkit.wrappers.das.blocks import Init, Kept, SkipForm
from adaptkit.wrappers.das.gates import Advantage
from adaptkit.wrappers.das.stand_ins import stand_ins_file

Select = Literal["search", "greedy", "random", "first", "last", "given"]


@dataclass(frozen=True)
class DASConfig:
    skip_vision: int = 2  # blocks of the image tower that are skipped
    skip_text: int = 2  # likewise of the text tower; saves work where texts are encoded, none per image
    encoder: Literal["both", "vision", "text"] = "both"  # towers that are changed at all
    # Which blocks: searched; those whose skipping alone costs least, untrained; drawn; the first; the last; the given.
    select: Select = "search"
    vision_blocks: tuple[int, ...] = ()  # read by "given": as many as skip_vision
    text_blocks: tuple[int, ...] = ()  # likewise
    draw: int = 0  # seed of "random"
    skip_bottleneck_vision: int = 192  # width inside the adapter of a skipped block
    skip_bottleneck_text: int = 128
    kept_bottleneck_vision: int = 64  # width inside an adapter beside a kept block
    kept_bottleneck_text: int = 32
    kept: Kept = "mlp"  # adapters beside a kept block: one at its MLP, one at its attention too as in ViLT, or none
    # Of Up: zero, so that an adapter starts as nothing; N(0, 0.02^2), as published; or "fitted": zero beside kept ones,
    # and in the place of a skipped block the nearest linear copy of it on the training images (das_fit.py).
    # "distilled": so in the text tower, and in the image tower from the file `stand_ins` (das_stand_ins.py),
    # whose gates a search goes on from.
    init: Init = "zero"
    # What `adaptkit das distill` wrote, or "adaptkit-mini" for the one that comes with that backbone.
    stand_ins: str = field(default="", metadata={"file": stand_ins_file})
    skip_form: SkipForm = "input"  # x + A(x), or x + LN(x) + A(x) as released for LLaVA
    scale: float = 1.0  # s
    distill: float = 0.0  # weight in the loss of the drift from the towers as loaded (das_drift.py; ours)
    search_steps: int = 0  # of the search; 0: 250 for each shot, from 500 to 2000
    search_batch: int = 32  # images of a step
    search_lr: float = 5e-4  # AdamW's, falling to 0 along a cosine
    search_weight_decay: float = 0.01  # on all but biases and layer norms
    searches: int = 3  # from different seeds; their gates are averaged
    reward_images: Literal["held_out", "val"] = "held_out"  # a quarter of the training images, or validation images
    reward_start: float = 1 / 3  # share of the steps before the first reward
    reward_every: int = 5  # steps from reward to reward
    reward_batch: int = 64  # images of a reward
    candidates: int = 3  # different sub-networks that are compared in a reward
    advantage: Advantage = "standardised"  # of a reward: over the standard deviation, or R - mean R as published
    eta: float = 0.1  # step of the gates; 1 as published

    def __post_init__(self) -> None:
        for name, least in (
            ("skip_vision", 0),
            ("skip_text", 0),
            ("draw", 0),
            ("skip_bottleneck_vision", 1),
            ("skip_bottleneck_text", 1),
            ("kept_bottleneck_vision", 1),
            ("kept_bottleneck_text", 1),
            ("search_steps", 0),
            ("search_batch", 1),
            ("searches", 1),
            ("reward_every", 1),
            ("reward_batch", 1),
            ("candidates", 2),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; expected {least} or more")
        if (self.init == "distilled") != bool(self.stand_ins):
            raise ValueError(
                f"init={self.init!r} with stand_ins={self.stand_ins!r}; init='distilled' and a file of stand-ins "
                "(`adaptkit das distill` makes one) go together"
            )
        if self.distill < 0:
            raise ValueError(f"distill={self.distill}; expected 0 or more")
        if self.select not in get_args(Select):
            raise ValueError(f"select={self.select!r}; expected one of {get_args(Select)}")
        for tower, count in (("vision", self.skip_vision), ("text", self.skip_text)):
            if count and self.encoder not in ("both", tower):
                raise ValueError(
                    f"skip_{tower}={count} with encoder={self.encoder!r}, which leaves that tower as it is"
                )
            blocks = getattr(self, f"{tower}_blocks")
            if self.select == "given" and len(blocks) != count:
                raise ValueError(f"{tower}_blocks={blocks} and skip_{tower}={count}; name as many as are skipped")

    def with_architecture(self, architecture: Architecture) -> "DASConfig":
        """These options with the skipped blocks of an architecture."""
        vision, text = architecture.choice
        return replace(
            self,
            select="given",
            skip_vision=len(vision),
            skip_text=len(text),
            vision_blocks=vision,
            text_blocks=text,
        )

"""The options of DAS."""

from dataclasses import replace
from typing import Literal

from adaptkit.contract.architecture import Architecture
from adaptkit.options import option, options
from adaptkit.wrappers.das.blocks import Init, Kept, SkipForm
from adaptkit.wrappers.das.gates import Advantage
from adaptkit.wrappers.das.stand_ins import stand_ins_file

Select = Literal["search", "greedy", "random", "first", "last", "given"]


@options
class DASConfig:
    skip_vision: int = option(2, "Blocks of the image tower that are skipped.", least=0)
    skip_text: int = option(
        2, "Blocks of the text tower that are skipped; it saves work where texts are encoded, none per image.", least=0
    )
    encoder: Literal["both", "vision", "text"] = option("both", "Towers that are changed at all.")
    select: Select = option(
        "search",
        "Which blocks are skipped: searched ones, those whose skipping alone costs least (untrained), drawn ones, the "
        "first, the last, or the given.",
    )
    vision_blocks: tuple[int, ...] = option(
        (), 'Blocks of the image tower that "given" skips, as many as skip_vision.', least=0
    )
    text_blocks: tuple[int, ...] = option(
        (), 'Blocks of the text tower that "given" skips, as many as skip_text.', least=0
    )
    draw: int = option(0, 'The seed of "random".', least=0)
    skip_bottleneck_vision: int = option(
        192, "Width inside the adapter of a skipped block of the image tower.", least=1
    )
    skip_bottleneck_text: int = option(128, "Width inside the adapter of a skipped block of the text tower.", least=1)
    kept_bottleneck_vision: int = option(64, "Width inside an adapter beside a kept block of the image tower.", least=1)
    kept_bottleneck_text: int = option(32, "Width inside an adapter beside a kept block of the text tower.", least=1)
    kept: Kept = option(
        "mlp", "Adapters beside a kept block: one at its MLP, one at its attention too as in ViLT, or none."
    )
    init: Init = option(
        "zero",
        'Where Up starts: at zero, so that an adapter starts as nothing; at N(0, 0.02^2), as published; "fitted", zero '
        "beside kept blocks and in the place of a skipped one its nearest linear copy on the training images; or "
        '"distilled", so in the text tower, and in the image tower from the file `stand_ins`, whose gates a search '
        "goes on from.",
    )
    stand_ins: str = option(
        "",
        'What `adaptkit das distill` wrote, or "adaptkit-mini" for the one that comes with that backbone.',
        file=stand_ins_file,
    )
    skip_form: SkipForm = option("input", "Compute x + A(x), or x + LN(x) + A(x) as released for LLaVA.")
    scale: float = option(1.0, "The scale s of what an adapter adds.", least=0)
    distill: float = option(
        0.0, "Weight in the loss of the drift from the towers as loaded, which is our addition.", least=0
    )
    search_steps: int = option(0, "Steps of the search; 0 takes 250 for each shot, from 500 to 2000.", least=0)
    search_batch: int = option(32, "Images of a step of the search.", least=1)
    search_lr: float = option(5e-4, "The learning rate of the search's AdamW, falling to 0 along a cosine.", least=0)
    search_weight_decay: float = option(0.01, "The search's weight decay on all but biases and layer norms.", least=0)
    searches: int = option(3, "Searches from different seeds, whose gates are averaged.", least=1)
    reward_images: Literal["held_out", "val"] = option(
        "held_out", "Images of a reward: a quarter of the training images, or validation images."
    )
    reward_start: float = option(1 / 3, "Share of the steps before the first reward.", least=0, most=1)
    reward_every: int = option(5, "Steps from reward to reward.", least=1)
    reward_batch: int = option(64, "Images of a reward.", least=1)
    candidates: int = option(3, "Different sub-networks that are compared in a reward.", least=2)
    advantage: Advantage = option("standardised", "A reward over the standard deviation, or R - mean R as published.")
    eta: float = option(0.1, "Step of the gates; it is 1 as published.", least=0)

    def __post_init__(self) -> None:
        if (self.init == "distilled") != bool(self.stand_ins):
            raise ValueError(
                f"init={self.init!r} with stand_ins={self.stand_ins!r}; init='distilled' and a file of stand-ins "
                "(`adaptkit das distill` makes one) go together"
            )
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

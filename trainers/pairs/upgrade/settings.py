"""What an upgrade is fitted from, and how."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adaptkit.features.xbt.projection import Start
from adaptkit.options import option, options
from trainers.bounds import MOST_SEED
from trainers.config.training import OptimConfig

Stage2 = Literal["none", "phi_image", "lora"]
# Updates of rank r are scaled by 1 / sqrt(r) here, so they take the larger rate that `adaptkit tune` has, too.
PAIR_LR = {"none": 1e-4, "phi_image": 1e-4, "lora": 2e-3}
LARGEST_BATCH, LEAST_BATCH, STEPS_OF_EPOCH = 4096, 64, 25


@options
class XBTConfig:
    """The settings of both stages. The paper's text was not to be had, so the numbers are ours but for the noise."""

    noise: tuple[float, ...] = option(
        (1.0,), "Largest noise of texts in units of 1 / sqrt(d_n); of several the best on validation pairs is taken."
    )
    start: Start = option("procrustes", "The linear map that phi starts as.")
    hidden: int = option(0, "Width of the hidden layer; 0 is four times d_n.", least=0)
    tau: float = option(0.07, "Temperature of the contrastive losses.", above=0)
    lambda_c: float = option(1.0, "Weight of the contrastive loss of stage 1.", least=0)
    lambda_m: float = option(1.0, "Weight of the squared distance of stage 1.", least=0)
    epochs: int = option(10, "Passes over the texts in stage 1; 0 leaves phi at its start.", least=0)
    lr: float = option(1e-3, "AdamW's rate in stage 1; it falls along a cosine to 0.", above=0)
    batch_size: int = option(0, "Texts of a step; 0 is 25 steps an epoch, with 64 to 4,096 texts.", least=0)
    stage2: Stage2 = option("phi_image", "What learns on pairs: nothing, a head of images, or updates of the towers.")
    pair_epochs: int = option(5, "Passes over the images in stage 2; the best on validation pairs is kept.", least=1)
    pair_lr: float | None = option(
        None, "AdamW's rate in stage 2, which falls along a cosine to 0; null for 1e-4, and 2e-3 with lora.", above=0
    )
    pair_batch_size: int = option(128, "Pairs of a step in stage 2.", least=2)
    rank: int = option(8, "Rank of the updates of query and value projections, with lora.", least=1)
    frozen_texts: bool = option(False, "Leave the text tower as it is, with lora.")
    seed: int = option(1, "Of everything that is drawn.", least=0, most=MOST_SEED)

    def __post_init__(self) -> None:
        if not self.noise or min(self.noise) < 0:
            raise ValueError(f"noise={self.noise}; give one number or more, each 0 or larger")
        if self.lambda_c == self.lambda_m == 0:
            raise ValueError("lambda_c and lambda_m are both 0, so stage 1 has no loss; give one of them a weight")

    def text_optim(self, texts: int) -> OptimConfig:
        """The steps of stage 1 on so many texts."""
        batch = self.batch_size or min(LARGEST_BATCH, max(LEAST_BATCH, texts // STEPS_OF_EPOCH))
        return _adamw(self.lr, 1e-4, self.epochs, min(batch, texts))

    def pair_optim(self, images: int) -> OptimConfig:
        """The steps of stage 2 on so many images."""
        lr = self.pair_lr or PAIR_LR[self.stage2]
        return _adamw(lr, 0.01, self.pair_epochs, min(self.pair_batch_size, images))


def _adamw(lr: float, weight_decay: float, epochs: int, batch_size: int) -> OptimConfig:
    return OptimConfig(
        name="adamw",
        lr=lr,
        weight_decay=weight_decay,
        epochs=epochs,
        batch_size=batch_size,
        lr_scheduler="cosine_steps",
        warmup_epochs=0,
        clip_norm=1.0,
    )


@dataclass(frozen=True)
class FitResult:
    """What a fit went through; recalls are those of the validation pairs in the old gallery."""

    folder: Path
    noise: float  # that was taken, in units of 1 / sqrt(d_n)
    text_losses: tuple[float, ...]
    pair_losses: tuple[float, ...]
    pair_epoch: int  # of stage 2, that was taken; 0 is before it
    rsum: dict[str, float]  # "old/old", "stage 1", and "stage 2" where there is one
    texts: int
    images: int
    notes: tuple[str, ...]

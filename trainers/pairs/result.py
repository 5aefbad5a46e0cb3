"""What a training on pairs is asked to do, and what it changed."""

from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot import FewShotDataset
from datasets_fewshot.pair_tests.pair_tests import PairTests
from trainers.evaluation.retrieval import PairScores
from trainers.pairs.diagnosis.tested import Tested
from trainers.pairs.line import Place
from trainers.pairs.settings import PairSettings


@dataclass(frozen=True)
class TuneRequest:
    """What a training on pairs is asked to do.

    Args:
        data: where the pairs are, see `datasets_fewshot.pairs.load`.
        guard: a data set of classes on which zero-shot accuracy is watched; None watches nothing.
        tests: pair tests that are taken before and after, and choose nothing.
        most_lost: points of accuracy on the guard's validation images that the chosen model may lose.
        piece: pairs that are encoded with gradients at a time.
    """

    data: str | Path
    out: Path
    settings: PairSettings
    backbone: str
    pretrained: str | None = None
    checkpoint: str | Path | None = None
    guard: FewShotDataset | None = None
    tests: tuple[PairTests, ...] = ()
    most_lost: float = 1.0
    piece: int = 128
    seed: int = 1
    device: str = "auto"
    workers: int = 0
    image_column: str | None = None
    caption_column: str | None = None
    group_column: str | None = None


@dataclass(frozen=True)
class TuneResult:
    """What a training on pairs changed, all on test parts but for the places on the line."""

    folder: Path
    pairs: dict[str, int]  # images of each part
    captions_cut: int
    losses: tuple[float, ...]  # of each epoch
    before: PairScores
    after: PairScores
    guard_before: float | None
    guard_after: float | None
    places: tuple[Place, ...]
    alpha: float
    seconds: float
    notes: tuple[str, ...]
    tested: tuple[Tested, ...] = ()

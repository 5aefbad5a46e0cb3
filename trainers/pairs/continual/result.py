"""What a continual training is asked to do, and what became of the domains after each phase."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from trainers.evaluation.retrieval import PairScores
from trainers.pairs.continual.phases import Phase
from trainers.pairs.result import TuneRequest
from trainers.pairs.settings import PairSettings

Scores = dict[str, float]  # metric -> value
RECALL = "recall@1"  # in percent, the mean of both directions
METRICS = (RECALL, "text_to_image", "image_to_text", "rsum")


@dataclass(frozen=True)
class ContinualRequest:
    """What a continual training is asked to do.

    Args:
        phases: in the order in which they come; each is a domain that is tested after every phase.
        settings: of each strategy.
        tune: what all trainings have in common; its data and settings are not read, and its `out` is the folder of all.
    """

    phases: tuple[Phase, ...]
    settings: Mapping[str, PairSettings]
    tune: TuneRequest


@dataclass(frozen=True)
class Drift:
    """How the features of the test pairs moved in a phase: means over pairs, in degrees."""

    image_rotation: float
    text_rotation: float
    image_reshaping: float
    text_reshaping: float
    deviation: float


@dataclass(frozen=True)
class Outcome:
    """A model between two phases: a row of the matrix."""

    phase: str  # that it has just been trained on
    scores: tuple[Scores, ...]  # on each domain
    guard: float | None  # accuracy in percent; None without a guard
    losses: tuple[float, ...] = ()  # of each epoch
    drift: Drift | None = None  # since the phase before
    seconds: float = 0.0  # of training and judging


@dataclass(frozen=True)
class ContinualResult:
    """All strategies on the same phases."""

    domains: tuple[str, ...]
    before: Outcome  # zero-shot
    strategies: Mapping[str, tuple[Outcome, ...]]  # an outcome per phase; one for "joint", none for "zero_shot"


def flat(scores: PairScores) -> Scores:
    """The metrics of a domain."""
    there, back = scores.text_to_image.recall[1], scores.image_to_text.recall[1]
    return dict(zip(METRICS, ((there + back) / 2, there, back, scores.rsum), strict=True))


def outcome_from_json(content: Mapping) -> Outcome:
    """What `asdict` made of an outcome, after JSON."""
    drift = content["drift"]
    return Outcome(
        str(content["phase"]),
        tuple({metric: float(own[metric]) for metric in METRICS} for own in content["scores"]),
        None if content["guard"] is None else float(content["guard"]),
        tuple(float(loss) for loss in content["losses"]),
        None if drift is None else Drift(**{name: float(value) for name, value in drift.items()}),
        float(content["seconds"]),
    )


def outcome_to_json(outcome: Outcome) -> dict:
    """An outcome for JSON."""
    return asdict(outcome)

"""Results on test images: the entries of summary.json, and of the metrics.json of `adaptkit eval`, that a page shows.

Rates are in percent, but for sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

from trainers.report.decision.plain import made_of

SUMMARY_FILE, SHEET_FILE = "summary.json", "worst_images.png"


@dataclass(frozen=True)
class Gain:
    """Zero-shot accuracy without and with the texts of `--describe`."""

    part: str
    images: int
    before: float
    after: float


@dataclass(frozen=True)
class BeforeAfter:
    """A number before and after the temperature."""

    before: float
    after: float


@dataclass(frozen=True)
class SetsSeen:
    """Prediction sets of one kind on the test images; shares from 0 to 1."""

    score: str
    coverage_of: str
    promised: float
    covered: float
    standard_error: float
    mean_size: float
    size_error: float
    empty: float
    least_covered: float


@dataclass(frozen=True)
class CalibrationSeen:
    """What a calibration was worth on the test images."""

    temperature: float
    source: str
    held_out_images: int
    ece: BeforeAfter
    nll: BeforeAfter
    sets: tuple[SetsSeen, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ClassSummary:
    """Results on images of one class each."""

    test_images: int
    accuracy: float
    interval: tuple[float, float]
    zero_shot_accuracy: float | None = None
    dataset: str = ""  # "" stands for that of the training
    part: str = "test"
    text_gains: tuple[Gain, ...] = ()
    calibration: CalibrationSeen | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Label:
    """One label on the test images; None where a division by 0 stands."""

    index: int
    name: str
    images: int
    answered: int
    correct: int
    average_precision: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    threshold: float  # score from 0 to 1 from which it is an answer


@dataclass(frozen=True)
class LabelSummary:
    """Results on images with several labels each."""

    images: int
    accuracy: float  # share of images with exactly the right labels
    interval: tuple[float, float]
    mean_average_precision: float | None
    micro_f1: float | None
    macro_f1: float | None
    per_label: tuple[Label, ...]
    zero_shot_mean_average_precision: float | None = None
    dataset: str = ""  # "" stands for that of the training
    part: str = "test"
    notes: tuple[str, ...] = ()


Summary: TypeAlias = ClassSummary | LabelSummary


def summary_of(content: object) -> Summary:
    """The content of summary.json.

    Raises:
        ValueError: if it is something else.
    """
    several = isinstance(content, Mapping) and content.get("labels_per_image") == "several"
    return made_of(LabelSummary, content) if several else made_of(ClassSummary, content)


def judgement_of(content: object) -> Summary:
    """The content of metrics.json.

    Raises:
        ValueError: if it is something else.
    """
    if isinstance(content, Mapping) and "per_label" in content:
        return made_of(LabelSummary, content)
    counted = {**content, "test_images": content["images"]} if _counts_images(content) else content
    return made_of(ClassSummary, counted)


def _counts_images(content: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(content, Mapping) and "images" in content

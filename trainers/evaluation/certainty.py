"""How sure: what a calibration is worth on test images, as numbers, as lines and as a picture.

Coverage has two errors. That of the test images is the binomial one. The other comes from the held-out images, which
are a sample themselves: over their draws the coverage of a threshold, the k-th of N scores, has the distribution
Beta(k, N + 1 - k). Both together are the standard error of an empirical coverage around the promised one.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from adaptkit.artefacts.atomic_file import replacing
from adaptkit.calibration.calibration import Calibration
from adaptkit.calibration.certainty import prediction_sets
from adaptkit.calibration.conformal import CoverageOf, SetScore, rank_of_threshold
from adaptkit.classes.class_set import ClassSet
from trainers.evaluation.scoring import ECE_BINS, ConfidenceBin, Floats, Ints, Score, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEFAULT_COVERAGE = 0.9
KINDS: tuple[tuple[SetScore, CoverageOf], ...] = (
    ("lac", "images"),
    ("aps", "images"),
    ("aps_randomised", "images"),
    ("lac", "classes"),
)


@dataclass(frozen=True)
class SetResult:
    """Prediction sets of one kind on test images; shares from 0 to 1."""

    score: SetScore
    coverage_of: CoverageOf
    promised: float
    covered: float  # Share of images whose set holds the right class.
    standard_error: float  # Of that, from the test images and from the held-out ones.
    mean_size: float  # Classes in a set, on average.
    size_error: float  # Standard error of it.
    empty: float  # Share of empty sets.
    least_covered: float  # Coverage of the class that is covered least.


@dataclass(frozen=True)
class Certainty:
    """A calibrated method on test images, before and after."""

    temperature: float
    source: str
    held_out: int  # Images it was calibrated on.
    before: Score
    after: Score
    sets: tuple[SetResult, ...]  # Empty where the classes are not those of the calibration.
    notes: tuple[str, ...]


def judge_certainty(
    calibration: Calibration,
    logits: Floats,
    labels: Ints,
    classes: ClassSet | None,
    coverage: float = DEFAULT_COVERAGE,
    marks: Sequence[str] = (),
) -> Certainty:
    """Judge a calibration by test logits (N, C) with labels (N,).

    Args:
        classes: those of the logits; None where they are others than the method's own.
        marks: of the test images' content; those that were calibrated on are noted.
    """
    places = None if classes is None else calibration.places_in(classes)
    notes: list[str] = []
    results: tuple[SetResult, ...] = ()
    if places is None:
        notes.append("no prediction sets: the calibration was fitted for other classes than these")
    else:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            results = tuple(_judge_sets(calibration, places, logits, labels, coverage, kind, of) for kind, of in KINDS)
        notes += list(dict.fromkeys(str(warning.message) for warning in said))
    seen = len(set(marks) & set(calibration.images))
    if seen:
        notes.append(f"{seen} of these images were calibrated on, so calibration and coverage are flattered")
    return Certainty(
        calibration.temperature,
        calibration.source,
        len(calibration),
        score(logits, labels),
        score(logits / calibration.temperature, labels),
        results,
        tuple(notes),
    )


def _judge_sets(
    calibration: Calibration,
    places: Sequence[int],
    logits: Floats,
    labels: Ints,
    coverage: float,
    kind: SetScore,
    of: CoverageOf,
) -> SetResult:
    sets = prediction_sets(calibration, places, coverage, kind, of)
    inside = sets.of(torch.from_numpy(logits), calibration.temperature).numpy()
    right, sizes = inside[np.arange(len(labels)), labels], inside.sum(axis=1)
    covered, count = float(right.mean()), len(labels)
    each = [float(right[labels == label].mean()) for label in np.unique(labels)]
    held = _held_out_variance(calibration, places, labels, coverage, of)
    return SetResult(
        kind,
        of,
        coverage,
        covered,
        math.sqrt(covered * (1 - covered) / count + held),
        float(sizes.mean()),
        float(sizes.std() / math.sqrt(count)),
        float((sizes == 0).mean()),
        min(each),
    )


def _held_out_variance(
    calibration: Calibration, places: Sequence[int], labels: Ints, coverage: float, of: CoverageOf
) -> float:
    """The variance of the coverage over draws of the held-out images; of classes, each weighs as it is tested."""
    if of == "images":
        return beta_variance(len(calibration), coverage)
    held = np.bincount(np.asarray(places)[list(calibration.labels)], minlength=len(places))
    shares = np.bincount(labels, minlength=len(places)) / len(labels)
    each = [beta_variance(int(count), coverage) for count in held]
    return float((shares**2 * np.asarray(each)).sum())


def beta_variance(count: int, coverage: float) -> float:
    """The variance of Beta(k, N + 1 - k) with k = ceil((N + 1) coverage); 0 where every class is in every set."""
    k = rank_of_threshold(count, coverage)
    return k * (count + 1 - k) / ((count + 1) ** 2 * (count + 2)) if k <= count else 0.0


def as_json(found: Certainty) -> dict[str, object]:
    """All numbers for programs: calibration error in percent, likelihood in nats, shares from 0 to 1."""
    return {
        "temperature": found.temperature,
        "source": found.source,
        "held_out_images": found.held_out,
        "ece": {"before": found.before.ece, "after": found.after.ece},
        "nll": {"before": found.before.nll, "after": found.after.nll},
        "sets": [asdict(one) for one in found.sets],
        "notes": list(found.notes),
    }


def as_lines(content: Mapping[str, object]) -> list[str]:
    """What `as_json` says, for people."""
    ece, nll, sets, notes = (content[name] for name in ("ece", "nll", "sets", "notes"))
    assert isinstance(ece, Mapping)
    assert isinstance(nll, Mapping)
    assert isinstance(sets, list)
    assert isinstance(notes, list)
    lines = [
        f"calibration error {ece['before']:.2f} % before and {ece['after']:.2f} % after temperature "
        f"{content['temperature']:.3g}, log-likelihood {-nll['before']:.3f} and {-nll['after']:.3f} "
        f"(fitted on {content['source']})"
    ]
    for one in sets:
        of = "images" if one["coverage_of"] == "images" else "each class"
        empty = f", {100 * one['empty']:.1f} % empty" if one["empty"] else ""
        lines.append(
            f"  sets for {100 * one['promised']:g} % of {of}, {one['score']}: {100 * one['covered']:.1f} % "
            f"(standard error {100 * one['standard_error']:.1f}) hold the right class, {one['mean_size']:.2f} classes "
            f"on average{empty}"
        )
    return [*lines, *(f"note: {note}" for note in notes)]


def draw_reliability(found: Certainty, path: Path) -> str | None:
    """Draw accuracy by confidence before and after as PNG; returns the reason if it cannot.

    The bins are those of the calibration error, and of the plots of `adaptkit report`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"{path.name} needs matplotlib: pip install 'adaptkit-clip[report]'"
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    grid = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, title, scored in zip(grid, ("as trained", "calibrated"), (found.before, found.after), strict=True):
        for index, one in enumerate(scored.bins):
            _draw_bin(axes, index, one, scored.total)
        axes.plot([0, 100], [0, 100], color="#16202c", linestyle="--", linewidth=0.8)
        axes.set_title(f"{title}: error {scored.ece:.1f} %", fontsize=10, loc="left")
        axes.set(xlim=(0, 100), ylim=(0, 100))
    figure.supxlabel("confidence, %", fontsize=9)
    figure.supylabel("right, %", fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return None


def _draw_bin(axes: "Axes", index: int, one: ConfidenceBin, total: int) -> None:
    """One bar, the darker the more of the images are in it."""
    if not one.images:
        return
    width = 100 / ECE_BINS
    shade = 0.35 + 0.65 * min(1.0, ECE_BINS * one.images / total / 3)
    axes.bar((index + 0.5) * width, 100 * one.correct / one.images, width * 0.9, color="#2f6f9f", alpha=shade)

"""A judgement as files: metrics as JSON, the classes and the confusion matrix as CSV, and the matrix as a picture."""

import csv
import json
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from adaptkit.artefacts.atomic_file import replacing, write_text
from trainers.evaluation.metrics import ClassResult, Judgement

METRICS_FILE, CLASSES_FILE = "metrics.json", "classes.csv"
MATRIX_FILE, PICTURE_FILE = "confusion_matrix.csv", "confusion_matrix.png"
RELIABILITY_FILE = "reliability.png"
TOPK = 5
MOST_WHOLE = 1000  # a larger matrix has only the classes with images or answers
MOST_DRAWN = 100  # classes in the picture
MOST_NUMBERED = 25  # classes up to which the picture has numbers in its cells


def metrics(judgement: Judgement, topk: int = TOPK) -> dict[str, object]:
    """All numbers for programs; rates in percent, and null where a division by 0 stands.

    `per_class` is a list with one object per candidate, so that two classes of one name are two rows.
    """
    scored, majority = judgement.score, judgement.majority
    k = min(topk, len(judgement.classnames))
    return {
        "images": scored.total,
        "correct": scored.correct,
        "accuracy": scored.accuracy,
        "interval": list(scored.interval),
        "balanced_accuracy": judgement.balanced_accuracy,
        "macro": judgement.macro,
        "topk": {"k": k, "accuracy": judgement.topk_accuracy(k)},
        "majority": {"index": majority.index, "name": majority.name, "accuracy": judgement.majority_accuracy},
        "ece": scored.ece,
        "nll": scored.nll,
        "independent_offset": judgement.offset if judgement.offset == judgement.offset else None,
        "per_class": [class_row(one) for one in judgement.classes],
        "confusions": [
            {"true": true, "predicted": predicted, "images": images}
            for true, predicted, images in judgement.confusions()
        ],
    }


def class_row(one: ClassResult) -> dict[str, object]:
    """One class for programs; its accuracy is its recall."""
    return {
        "index": one.index,
        "name": one.name,
        "images": one.images,
        "correct": one.correct,
        "predicted": one.answered,
        "accuracy": one.recall,
        "precision": one.precision,
        "recall": one.recall,
        "f1": one.f1,
    }


def write_judgement(judgement: Judgement, folder: Path) -> tuple[list[Path], str | None]:
    """Write the classes and the confusion matrix into a folder, over the files of an earlier call.

    Returns:
        The files, and the reason why there is no picture, if there is none.
    """
    files = [folder / CLASSES_FILE, folder / MATRIX_FILE]
    picture, written_before = folder / PICTURE_FILE, files[1].is_file()
    _write_csv(files[0], _class_lines(judgement))
    _write_csv(files[1], _matrix_lines(judgement))
    reason = draw_matrix(judgement, picture)
    if reason is None:
        files.append(picture)
    elif written_before:
        picture.unlink(missing_ok=True)  # It shows the answers of the earlier call.
    return files, reason


def write_metrics(content: dict[str, object], folder: Path) -> Path:
    """Write metrics, with whatever stands beside them, as JSON."""
    write_text(folder / METRICS_FILE, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return folder / METRICS_FILE


def _write_csv(path: Path, lines: Iterator[Sequence[object]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)


def _class_lines(judgement: Judgement) -> Iterator[Sequence[object]]:
    rows = [class_row(one) for one in judgement.classes]
    yield list(rows[0])
    for row in rows:
        yield ["" if value is None else f"{value:.4f}" if isinstance(value, float) else value for value in row.values()]


def _matrix_lines(judgement: Judgement) -> Iterator[Sequence[object]]:
    """A head of names, then for every right class its number, its name and the images answered with each class."""
    places = _in_matrix(judgement, MOST_WHOLE)
    counts = _counts(judgement)
    names = judgement.classnames
    yield ["index", "true class", *(names[place] for place in places)]
    for place in places:
        row = counts.get(place, {})
        yield [place, names[place], *(row.get(other, 0) for other in places)]


def _in_matrix(judgement: Judgement, most: int) -> list[int]:
    """Places of the classes that stand in a matrix: all where they are not many, else those that occur."""
    if len(judgement.classnames) <= most:
        return list(range(len(judgement.classnames)))
    return [one.index for one in judgement.classes if one.images or one.answered]


def _counts(judgement: Judgement) -> dict[int, dict[int, int]]:
    """Right class -> answered class -> images, where there are some."""
    counts: dict[int, dict[int, int]] = defaultdict(dict)
    for one in judgement.classes:
        if one.correct:
            counts[one.index][one.index] = one.correct
    for true, answered, images in judgement.confusions():
        counts[true][answered] = images
    return counts


def draw_matrix(judgement: Judgement, path: Path) -> str | None:
    """Draw the confusion matrix as PNG, each row as shares of its images; returns the reason if it cannot.

    Of more than 100 classes, those that are confused most are drawn.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"{path.name} needs matplotlib: pip install 'adaptkit-clip[report]'"
    places = _drawn(judgement)
    counts = _counts(judgement)
    table = np.array([[counts.get(true, {}).get(answered, 0) for answered in places] for true in places])
    images = np.array([judgement.classes[place].images for place in places])
    shares = table / np.maximum(images, 1)[:, None]
    side = 2.5 + max(2.0, min(0.32 * len(places), 14.0))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_plain(judgement.classnames[place]) for place in places]
    size = 9 if len(places) <= MOST_NUMBERED else 6
    axes.set_xticks(range(len(places)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(places)), names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{judgement.score.correct} of {judgement.score.total} images right", fontsize=10)
    if len(places) <= MOST_NUMBERED:
        for row, column in zip(*np.nonzero(table), strict=True):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(table[row, column]), ha="center", va="center", fontsize=7, color=shade)
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # The font has no sign of some scripts.
        figure.savefig(temporary, format="png", dpi=150)
    return None


def _drawn(judgement: Judgement) -> list[int]:
    """Places of the classes to draw, in their order."""
    places = _in_matrix(judgement, MOST_DRAWN)
    if len(places) <= MOST_DRAWN:
        return places
    wrong = np.zeros(len(judgement.classnames), dtype=np.int64)
    for true, answered, images in judgement.confusions():
        wrong[true] += images
        wrong[answered] += images
    return sorted(sorted(places, key=lambda place: -wrong[place])[:MOST_DRAWN])


def _plain(name: str) -> str:
    """A name as a tick label: short, and with no sign that starts a formula."""
    return (name if len(name) <= 30 else name[:29] + "…").replace("$", r"\$")

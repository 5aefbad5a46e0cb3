"""The report of a single training: confused classes, and a sheet of the worst images."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from adaptkit import AdaptedCLIP, Confusion, FitResult
from adaptkit.artefacts.atomic_file import replacing, write_text
from datasets_fewshot import FewShotDataset, Item
from datasets_fewshot.upkeep.contact_sheet import captioned_sheet
from trainers.evaluation.certainty import as_json, as_lines, draw_reliability, judge_certainty
from trainers.evaluation.judgement_files import RELIABILITY_FILE
from trainers.evaluation.scoring import Floats, Ints, log_probabilities
from trainers.fit.calibrating import unknown_line
from trainers.report.decision.summary import SHEET_FILE, SUMMARY_FILE

CONFUSIONS = 5
WORST_IMAGES = 16
OTHERWISE = ("images", "accuracy", "interval", "confusions")  # metrics that stand in the summary anyhow
TEXT_FILE = "summary.txt"


def confusions(logits: Floats, labels: Ints, classnames: Sequence[str]) -> tuple[Confusion, ...]:
    """The most frequent confusions of one class with another; equally frequent ones are in label order."""
    taken_for = logits.argmax(axis=1)
    wrong = taken_for != labels
    pairs = Counter(zip(labels[wrong].tolist(), taken_for[wrong].tolist(), strict=True))
    ordered = sorted(pairs.items(), key=lambda entry: (-entry[1], entry[0]))[:CONFUSIONS]
    return tuple(Confusion(classnames[true], classnames[taken], images) for (true, taken), images in ordered)


def worst_images(logits: Floats, labels: Ints) -> list[int]:
    """Indices of wrongly classified images, beginning with the one whose true class got the lowest probability."""
    own = log_probabilities(logits)[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(logits.argmax(axis=1) != labels)
    return wrong[np.argsort(own[wrong], kind="stable")][:WORST_IMAGES].tolist()


def what_certainty(
    method: AdaptedCLIP, logits: Floats, labels: Ints, marks: Sequence[str], folder: Path
) -> tuple[dict[str, object], tuple[str, ...]]:
    """What a calibration is worth on test images, for programs and for people; nothing without one.

    With matplotlib, a picture of it is drawn into the folder; one of an earlier training is removed.
    """
    picture = folder / RELIABILITY_FILE
    if method.calibration is None:
        picture.unlink(missing_ok=True)
        return {}, ()
    found = judge_certainty(method.calibration, logits, labels, method.classes, marks=marks)
    if draw_reliability(found, picture) is not None:
        picture.unlink(missing_ok=True)
    content = as_json(found)
    threshold = unknown_line(method.calibration)
    return {"calibration": content}, (*as_lines(content), *([threshold] if threshold else []))


def write_sheet(dataset: FewShotDataset, items: Sequence[Item], logits: Floats, folder: Path) -> None:
    """Draw the images with their true and predicted classes; without images, remove an older sheet."""
    place = folder / SHEET_FILE
    if not items:
        place.unlink(missing_ok=True)  # the sheet of an earlier training
        return
    names = dataset.classnames
    probabilities = np.exp(log_probabilities(logits))
    captions = [
        f"{item.classname}\nnot {names[row.argmax()]} {row.max():.0%}"
        for item, row in zip(items, probabilities, strict=True)
    ]
    sheet = captioned_sheet([(dataset.load(item), text) for item, text in zip(items, captions, strict=True)], columns=4)
    with replacing(place) as temporary:
        sheet.save(temporary, format="PNG")


def write_summary(result: FitResult, folder: Path) -> None:
    """Write the summary as text and as JSON."""
    content = {
        "shots": result.shots,
        "test_images": result.test_images,
        "accuracy": result.accuracy,
        "interval": result.interval,
        "zero_shot_accuracy": result.zero_shot_accuracy,
        **({"text_gains": [asdict(gain) for gain in result.text_gains]} if result.text_gains else {}),
        **{name: value for name, value in result.metrics.items() if name not in OTHERWISE},
        "confusions": [asdict(confusion) for confusion in result.confusions],
        "worst_images": [str(path) for path in result.worst_images],
        "notes": result.notes,
    }
    write_text(folder / SUMMARY_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / TEXT_FILE, result.summary() + "\n")

"""The report of a training on several labels: the labels as CSV, the worst images, and the numbers as JSON and text."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adaptkit import MultiLabelFitResult
from adaptkit.artefacts.atomic_file import replacing, write_text
from datasets_fewshot import Item
from datasets_fewshot.own.multi_label import MultiLabelDataset
from datasets_fewshot.upkeep.contact_sheet import captioned_sheet
from trainers.evaluation.multi_label import LabelJudgement, LabelResult
from trainers.evaluation.scoring import Bools, Floats
from trainers.fit.report import TEXT_FILE, WORST_IMAGES
from trainers.report.decision.summary import SHEET_FILE, SUMMARY_FILE

LABELS_FILE = "labels.csv"


def metrics(judgement: LabelJudgement) -> dict[str, object]:
    """All numbers for programs; rates in percent, and null where a division by 0 stands."""
    return {
        "images": judgement.images,
        "mean_average_precision": judgement.mean_average_precision,
        "micro_f1": judgement.micro_f1,
        "macro_f1": judgement.macro_f1,
        "exact": judgement.exact,
        "accuracy": judgement.accuracy,
        "interval": list(judgement.interval),
        "per_label": [label_row(one) for one in judgement.labels],
    }


def label_row(one: LabelResult) -> dict[str, object]:
    """One label for programs."""
    return {
        "index": one.index,
        "name": one.name,
        "images": one.images,
        "answered": one.answered,
        "correct": one.correct,
        "average_precision": one.average_precision,
        "precision": one.precision,
        "recall": one.recall,
        "f1": one.f1,
        "threshold": one.threshold,
    }


def write_labels(judgement: LabelJudgement, folder: Path) -> Path:
    """Write the labels into a folder, over the file of an earlier call."""
    rows = [label_row(one) for one in judgement.labels]
    with replacing(folder / LABELS_FILE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(list(rows[0]))
        for row in rows:
            values = row.values()
            writer.writerow(
                "" if value is None else f"{value:.4f}" if isinstance(value, float) else value for value in values
            )
    return folder / LABELS_FILE


def worst_images(log_odds: Floats, targets: Bools, thresholds: Floats) -> list[int]:
    """Images that are answered with wrong labels, beginning with the one whose answer is furthest from right.

    How far is the largest distance of a wrong label's log odds from its threshold.
    """
    wrong = (log_odds >= thresholds) != targets
    distance = np.where(wrong, np.abs(log_odds - thresholds), -1.0).max(axis=1)
    images = np.flatnonzero(wrong.any(axis=1))
    return images[np.argsort(-distance[images], kind="stable")][:WORST_IMAGES].tolist()


def write_sheet(
    dataset: MultiLabelDataset, items: Sequence[Item], answers: Bools, targets: Bools, folder: Path
) -> None:
    """Draw images with the labels that they lack and have too many; without images, remove an older sheet."""
    place = folder / SHEET_FILE
    if not items:
        place.unlink(missing_ok=True)  # the sheet of an earlier training
        return
    captions = [
        f"not seen: {_names(dataset, is_there & ~said)}\nnot there: {_names(dataset, said & ~is_there)}"
        for said, is_there in zip(answers, targets, strict=True)
    ]
    pictures = [(dataset.images.load(item), text) for item, text in zip(items, captions, strict=True)]
    with replacing(place) as temporary:
        captioned_sheet(pictures, columns=4).save(temporary, format="PNG")


def _names(dataset: MultiLabelDataset, which: Bools) -> str:
    return ", ".join(dataset.classnames[place] for place in np.flatnonzero(which)) or "-"


def write_summary(result: MultiLabelFitResult, judgement: LabelJudgement, folder: Path) -> None:
    """Write the summary as text and as JSON."""
    content = {
        "labels_per_image": "several",
        "shots": result.shots,
        **metrics(judgement),
        "zero_shot_mean_average_precision": result.zero_shot_mean_average_precision,
        "worst_images": [str(path) for path in result.worst_images],
        "notes": result.notes,
    }
    write_text(folder / SUMMARY_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / TEXT_FILE, result.summary() + "\n")

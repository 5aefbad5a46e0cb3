"""Folders of adapters and suggestions with all that a report shows of them, written without a training."""

import json
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from trainers.report.decision.leaderboard import Leaderboard, Row
from trainers.report.decision.suggestions import Duplicate, LabelError, LookAlike, Suggestions

EVIL = "<script>alert('{data}')</script>"
SOURCE = "5 folds of 40 training images"
TEMPERATURE = 1.5


def leaderboard(method: str = "taskres") -> Leaderboard:
    rows = (
        Row(f"{method}, rate x3", method, "features", {"lr": 0.1}, "chosen", 71.5, 2.5, 9.5, 2.25, 5, 200, 3.5),
        Row("zero_shot", "zero_shot", "training_free", {}, "baseline", 62.0, 3.0, folds=5),
        Row("gda", "gda", "features", {}, "rung 1 of 3", 40.0, 5.0, -22.0, 4.0, 2, 0, 0.1),
        Row(EVIL, "coop", "text_tower", {}, "not tried", reason=f"there was no budget for {EVIL}"),
    )
    sentence = f"{rows[0].candidate} is better than zero-shot by 9.5 ± 2.2 points"
    return Leaderboard(sentence, rows[0].candidate, "balanced_accuracy", "400steps", "200 steps", 1, 40, 40, 5, rows)


def summary() -> dict[str, object]:
    sets = {
        "score": "lac", "coverage_of": "images", "promised": 0.9, "covered": 0.875, "standard_error": 0.031,
        "mean_size": 1.75, "size_error": 0.1, "empty": 0.0, "least_covered": 0.6,
    }  # fmt: skip
    return {
        "shots": 16,
        "test_images": 24,
        "accuracy": 75.0,
        "interval": [55.1, 88.0],
        "zero_shot_accuracy": 62.5,
        "text_gains": [{"part": "test", "images": 24, "before": 62.5, "after": 66.7}],
        "per_class": [],
        "calibration": {
            "temperature": TEMPERATURE,
            "source": SOURCE,
            "held_out_images": 40,
            "ece": {"before": 12.25, "after": 4.5},
            "nll": {"before": 1.2, "after": 0.8},
            "sets": [sets],
            "notes": [],
        },
        "notes": [f"a note on {EVIL}"],
    }


def label_summary() -> dict[str, object]:
    label = {
        "index": 0, "name": EVIL, "images": 9, "answered": 8, "correct": 6, "average_precision": 81.25,
        "precision": 75.0, "recall": 66.7, "f1": 70.6, "threshold": 0.355,
    }  # fmt: skip
    absent = {**label, "index": 1, "name": "ball", "average_precision": None, "recall": None}
    return {
        "labels_per_image": "several",
        "shots": 4,
        "images": 24,
        "mean_average_precision": 81.25,
        "micro_f1": 70.6,
        "macro_f1": 70.6,
        "exact": 50.0,
        "accuracy": 50.0,
        "interval": [31.4, 68.6],
        "per_label": [label, absent],
        "zero_shot_mean_average_precision": 41.5,
        "worst_images": [],
        "notes": [],
    }


def calibration() -> dict[str, object]:
    unknown = {"threshold": 0.45, "auroc": 0.85, "false_rejections": 0.1, "caught": 0.7, "rule": "Youden's J"}
    return {
        "format": "adaptkit-calibration",
        "format_version": 1,
        "temperature": TEMPERATURE,
        "labels": [0, 1] * 20,
        "source": SOURCE,
        "ece": [14.0, 3.75],
        "unknown": unknown,
    }


def config(method: str = "taskres", wrappers: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "format": "adaptkit-adapter",
        "method": {"name": method, "options": {}},
        "wrappers": [{"name": name, "options": {}} for name in wrappers],
        "classnames": [EVIL, "ball"],
    }


def write_adapter(folder: Path) -> Path:
    """An adapter's folder without its tensors, with every file that a report reads and one picture."""
    folder.mkdir(parents=True)
    for name, content in (
        ("adapter_config.json", config()),
        ("summary.json", summary()),
        ("leaderboard.json", leaderboard().to_json()),
        ("calibration.json", calibration()),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    Image.new("RGB", (4, 4)).save(folder / "reliability.png")
    return folder


def suggestions() -> Suggestions:
    return Suggestions(
        dataset=EVIL,
        method="taskres",
        images=40,
        folds=5,
        held_out_images=40,
        held_out_accuracy=80.0,
        label_errors=(LabelError(f"train/{EVIL}.png", "ball", "dog", 0.01, 0.9, True),),
        duplicates=(Duplicate("a.png", "train", "ball", "b.png", "test", "ball", "near", 0.99),),
        look_alikes=(LookAlike("ball", "dog", 3, 20, 0.9, ("a.png", "b.png")),),
        label_next=None,
        left_out=("images to label next: no folder is given",),
        notes=(),
    )


def write_suggestions(folder: Path) -> Path:
    """What `adaptkit suggest` leaves, as far as a report reads it."""
    folder.mkdir(parents=True)
    (folder / "suggestions.json").write_text(json.dumps(asdict(suggestions())), encoding="utf-8")
    Image.new("RGB", (4, 4)).save(folder / "label_errors.png")
    return folder

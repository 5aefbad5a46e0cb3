"""Calibrate a trained method: on folds of its training images, or on images that it has not learnt from."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from adaptkit import AdaptedCLIP
from adaptkit.artefacts.atomic_file import write_text
from adaptkit.calibration.calibration import FEWEST_IMAGES, Calibration
from adaptkit.contract.calibrated import calibrate_on_logits, check_one_answer, why_no_class_can_be_left_out
from adaptkit.regular_file import read_json
from datasets_fewshot.splits.content_marks import content_marks
from trainers.compute.seeds import seeded
from trainers.fit.held_out import HeldOut, folds_of
from trainers.runs.data import Bench
from trainers.runs.identity import Run
from trainers.runs.learning import make_method

FOLDS_FOLDER = "folds"  # inside the adapter's folder: the records of the trainings without a fold
MARKS_FILE, MARKS_FORMAT = "training_images.json", "adaptkit-training-images"
MOST_MARKS_BYTES = 2**26
FEW_IMAGES = 100


def check_can_be_calibrated(run: Run, bench: Bench, most_false_rejections: float | None) -> None:
    """Check, before anything is trained, that a run can be calibrated on folds.

    Raises:
        ValueError: if too few images can be held out, the method answers with several labels, or a threshold is asked
            for and no class can be left out.
    """
    count = len(run.dataset.split.train)
    if run.uses_training:
        folds = folds_of(run.task.train, content_marks(run.dataset, run.task.train), run.config.seed)
        count = sum(len(held) for held in folds.held)
    if count < FEWEST_IMAGES:
        raise ValueError(
            f"{count} training images can be held out, which are too few to calibrate on; take more shots, so that "
            f"there are {FEWEST_IMAGES} or more of classes with several images"
        )
    with seeded(0, bench.backbone.device):
        method = make_method(run, bench, run.config.wrap)
    check_one_answer(method)
    why_not = why_no_class_can_be_left_out(method)
    if most_false_rejections is not None and why_not is not None:
        raise ValueError(f"no threshold for unknown classes can be chosen: {why_not}; leave --false-rejections out")


def calibrate_method(method: AdaptedCLIP, found: HeldOut, most_false_rejections: float | None) -> tuple[str, ...]:
    """Give a method the calibration that held-out images say; returns notes for the user.

    Raises:
        ValueError: if there are too few images or classes.
    """
    different = len(set(found.marks))
    if different < FEWEST_IMAGES <= len(found.marks):
        raise ValueError(
            f"{len(found.marks)} held-out images are {different} different ones, which are too few to calibrate on; "
            f"give {FEWEST_IMAGES} or more, better a hundred"
        )
    calibration = calibrate_on_logits(
        method,
        torch.from_numpy(found.logits),
        torch.from_numpy(found.labels),
        found.source,
        found.marks,
        most_false_rejections,
    )
    notes = []
    if len(calibration) < FEW_IMAGES:
        notes.append(f"{len(calibration)} held-out images are few to calibrate on: mind the standard errors")
    before, after = calibration.ece
    if after > before:
        notes.append(
            f"at temperature {calibration.temperature:.3g} the right classes are more probable than before, and the "
            f"calibration error is {after:.1f} %, not {before:.1f} %: mind it where probabilities are used"
        )
    if different < len(calibration):
        notes.append(
            f"{len(calibration) - different} held-out images are copies of others, so there are fewer than are counted"
        )
    missing = [name for label, name in enumerate(method.classes.classnames) if label not in set(calibration.labels)]
    if missing:
        notes.append(
            f"no held-out image of {len(missing)} classes, such as {missing[0]!r}; sets promise nothing of them"
        )
    why_not = why_no_class_can_be_left_out(method)
    if why_not is None and calibration.unknown is None:
        why_not = "the held-out images show one class only"
    if why_not is not None:
        notes.append(f"no threshold for unknown classes: {why_not}")
    return tuple(notes)


def unknown_line(calibration: Calibration) -> str | None:
    """What the threshold for unknown classes does, for people; None where there is none."""
    unknown = calibration.unknown
    if unknown is None:
        return None
    return (
        f"unknown classes: --reject auto answers 'unknown' below {100 * unknown.threshold:.1f} % ({unknown.rule}); on "
        f"classes left out that is {100 * unknown.caught:.0f} % of unknown and "
        f"{100 * unknown.false_rejections:.0f} % of known images, area under the ROC curve {unknown.auroc:.2f}"
    )


def marks_of_start(start_from: str | Path | None) -> frozenset[str] | None:
    """Marks of the images that were learnt from before a training began; None where nobody wrote them down.

    Args:
        start_from: the adapter that the training starts from, or None.

    Raises:
        ValueError: if its list is damaged.
    """
    return frozenset() if start_from is None else read_training_marks(Path(start_from))


def write_training_marks(run: Run, method: AdaptedCLIP, folder: Path, earlier: frozenset[str] | None) -> None:
    """Write which images an adapter has learnt from or was tuned on, by marks of their content.

    The val part is tuned on by methods that choose their own settings, and perhaps by wrappers.

    Args:
        earlier: see `marks_of_start`; where nobody knows them, no list is written, and none is left.
    """
    if earlier is None:
        (folder / MARKS_FILE).unlink(missing_ok=True)
        return
    items = set(run.task.train) if run.uses_training else set()
    if run.uses_training and ("tune" in method.provides or run.config.wrap):
        items.update(run.task.tests[0].items if run.config.selection == "oracle" else run.task.val)
    marks = sorted({*earlier, *content_marks(run.dataset, items)})
    write_text(folder / MARKS_FILE, json.dumps({"format": MARKS_FORMAT, "marks": marks}) + "\n")


def read_training_marks(folder: Path) -> frozenset[str] | None:
    """Marks of the images that an adapter has learnt from; None where nobody wrote them down.

    Raises:
        ValueError: if the file is damaged.
    """
    path = folder / MARKS_FILE
    if not path.is_file():
        return None
    content = read_json(path, "list of training images", MOST_MARKS_BYTES)
    marks = content.get("marks") if isinstance(content, dict) and content.get("format") == MARKS_FORMAT else None
    if not isinstance(marks, list) or not all(isinstance(mark, str) for mark in marks):
        raise ValueError(f"{path} is no list of training images; remove it, or train again")
    return frozenset(marks)


def check_not_learnt_from(marks: Sequence[str], learnt: frozenset[str] | None, place: str) -> str | None:
    """Check that held-out images are none of those that an adapter has learnt from; returns a note if nobody knows.

    Raises:
        ValueError: if some are.
    """
    if learnt is None:
        return f"{place} does not say which images it has learnt from; calibrate on others alone, nobody checks it"
    shared = sum(mark in learnt for mark in marks)
    if shared:
        raise ValueError(
            f"{shared} of the {len(marks)} images are among those that {place} has learnt from, on which every method "
            "is surer than it should be; give images that it has not seen, such as --part test of a divided set, or "
            "train it again with --calibrate, which holds images out in turn"
        )
    return None

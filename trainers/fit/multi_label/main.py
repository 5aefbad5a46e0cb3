"""One training on own images with several labels each, from the table to a saved and tested adapter."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from adaptkit import ClassSet, MultiLabelFitResult
from adaptkit.artefacts.card import TrainingFacts
from adaptkit.front_door import FitArguments
from adaptkit.wrappers import MultiLabel
from datasets_fewshot.own.multi_label import MultiLabelDataset, load_multi_label
from datasets_fewshot.splits.multi_label import draw_positives
from datasets_fewshot.splits.split_files import MAX_VAL_SHOTS
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench
from trainers.config.load import load_bench
from trainers.config.settings import RunConfig
from trainers.evaluation.multi_label import LabelJudgement, judge_labels
from trainers.fit.checks import check_names
from trainers.fit.defaults import EMBEDDED, default_shots, embedded_settings, size_settings
from trainers.fit.multi_label.report import metrics, worst_images, write_labels, write_sheet, write_summary
from trainers.fit.multi_label.training import (
    FOLDS,
    LEAST_POSITIVES,
    LabelTask,
    OnEpoch,
    held_out,
    learn,
    log_odds_of,
    make,
    settle,
)
from trainers.runs.data import Bench
from trainers.runs.start import ZERO_SHOT

WRAPPER = "multi_label"
NAMES_SHOWN = 5

Tell = Callable[[str], None]


def fit_labels(
    asked: FitArguments, folder: Path, fixed: dict[str, object], notes: Sequence[str]
) -> MultiLabelFitResult:
    """Train with a sigmoid for each label, choose thresholds on folds of the training images, test, and save.

    Args:
        folder: of the adapter.
        fixed: settings that hold unless the user's say otherwise, without shots and with the method as the last one.
        notes: remarks for the user, besides those of the data set.

    Raises:
        ValueError: if the method or a setting does not go with several labels per image; before any training.
    """
    _refuse(asked)
    dataset, overrides, tell = _labelled(asked), asked.overrides, asked.tell
    split = dataset.images.split
    counts = dataset.targets(split.train).sum(axis=0)
    drawn = asked.shots or default_shots(counts.tolist())
    fixed = {**fixed, "WRAP": [WRAPPER, *(name for name in asked.wrap if name != WRAPPER)], "SHOTS": [drawn]}
    if asked.backbone == EMBEDDED:
        fixed |= embedded_settings(asked.method, drawn)
    run = _run(fixed, overrides)
    bench = open_bench(load_bench(None, overrides, fixed), folder, cache_folder() / "features")
    check_names(ClassSet(dataset.classnames, run.templates), bench.backbone)
    seed, n_labels = run.seed, len(dataset.classnames)
    train, val = (
        tuple(items[place] for place in draw_positives([dataset.labels[i.label] for i in items], n_labels, most, seed))
        for items, most in ((split.train, drawn), (split.val, min(drawn, MAX_VAL_SHOTS)))
    )
    consumes = make(LabelTask(dataset, train, val, run), bench).consumes
    run = _run({**fixed, **size_settings(run, len(train), consumes)}, overrides)
    task = LabelTask(dataset, train, val, run)
    tell(f"{n_labels} labels, {drawn} shots of each: {len(train)} training images, {len(split.test)} test images")
    for note in dataset.notes:
        tell(f"note: {note}")
    own = (WRAPPER, dict(run.wrap)[WRAPPER])
    plain = _run({**fixed, "METHODS": [ZERO_SHOT]}, overrides)
    _, zero_shot, _ = _trained(dataclasses.replace(task, run=dataclasses.replace(plain, wrap=(own,))), bench, tell)
    method, judgement, few = _trained(task, bench, tell)
    log_odds, targets = log_odds_of(method, dataset, split.test, bench)
    thresholds = method.label_thresholds.double().cpu().numpy()
    worst = worst_images(log_odds, targets, thresholds)
    every_note = (*notes, *dataset.notes, *_notes(dataset, few, len(train)))
    method.save_pretrained(folder, TrainingFacts(dataset.name, drawn, seed=seed, notes=_card(judgement, every_note)))
    write_labels(judgement, folder)
    items = [split.test[place] for place in worst]
    write_sheet(dataset, items, (log_odds >= thresholds)[worst], targets[worst], folder)
    result = MultiLabelFitResult(
        method=method,
        folder=folder,
        shots=drawn,
        test_images=judgement.images,
        accuracy=judgement.accuracy,
        interval=judgement.interval,
        zero_shot_accuracy=zero_shot.accuracy,
        confusions=(),
        worst_images=tuple(dataset.images.path(item) for item in items),
        notes=every_note,
        metrics=metrics(judgement),
        mean_average_precision=judgement.mean_average_precision,
        zero_shot_mean_average_precision=zero_shot.mean_average_precision,
        micro_f1=judgement.micro_f1,
        macro_f1=judgement.macro_f1,
    )
    write_summary(result, judgement, folder)
    return result


def _refuse(asked: FitArguments) -> None:
    """Check that nothing is asked for that several labels per image have no use for.

    Raises:
        ValueError: names the argument.
    """
    for name in ("start_from", "split", "describe", "calibrate"):
        value = getattr(asked, name)
        if value is not None and value is not False:
            raise ValueError(
                f"{name}={str(value)!r} is for images of one class each, and the table has several labels per image; "
                "leave it out" + (", and give the parts in a column of the table" if name == "split" else "")
            )


def _labelled(asked: FitArguments) -> MultiLabelDataset:
    return load_multi_label(
        asked.data,
        classnames=asked.classnames,
        skip_bad=asked.skip_bad,
        path_column=asked.path_column,
        label_column=asked.label_column,
        encoding=asked.encoding,
        redraw=asked.redraw,
        val_as_test=asked.val_as_test,
    )


def _run(fixed: dict[str, object], overrides: Sequence[str]) -> RunConfig:
    """The run of the last method, with the wrapper of several labels around it.

    Raises:
        ValueError: if a setting does not go with several labels per image.
    """
    run = load_bench(None, overrides, fixed).runs[-1]
    refused = {
        "OPTIM.LABEL_SMOOTHING": run.optim.label_smoothing > 0,
        "OBJECTIVE": bool(run.objective),
        "SELECTION": run.selection == "oracle",
        "UNLABELLED": run.unlabelled == "all",
    }
    if named := [key for key, is_set in refused.items() if is_set]:
        raise ValueError(f"{named[0]} is for images of one class each, and these have several labels; leave it out")
    return run


def _trained(task: LabelTask, bench: Bench, tell: Tell) -> tuple[MultiLabel, LabelJudgement, tuple[int, ...]]:
    """A trained method with its thresholds, its results on the test images, and the labels with a common threshold."""
    name = task.run.label
    tell(f"{name} on {bench.backbone.device} ...")
    folds, targets = held_out(task, bench, lambda fold, count: tell(f"{name}: fold {fold} of {count} for thresholds"))
    on_epoch: OnEpoch = lambda done: tell(f"{name}: epoch {done}")  # noqa: E731 - named for its type
    method, _ = learn(task, bench, on_epoch)
    few = settle(method, folds, targets)
    judgement = judge(method, task.dataset, bench)
    tell(f"{name}: mean average precision {judgement.mean_average_precision:.1f} %")
    return method, judgement, few


def judge(method: MultiLabel, dataset: MultiLabelDataset, bench: Bench) -> LabelJudgement:
    """The results on a data set's test images."""
    log_odds, targets = log_odds_of(method, dataset, dataset.images.split.test, bench)
    return judge_labels(log_odds, targets, method.label_thresholds.double().cpu().numpy(), dataset.classnames)


def _notes(dataset: MultiLabelDataset, few: Sequence[int], training_images: int) -> list[str]:
    if training_images < 2:
        return [
            "one training image cannot be divided into folds, so the threshold of every label is a score of one half"
        ]
    folds = min(FOLDS, training_images)
    said = [
        f"thresholds and the scale of the scores were chosen on {folds} folds of the training images, each answered by "
        "a training on the others"
    ]
    if few:
        names = ", ".join(repr(dataset.classnames[place]) for place in few[:NAMES_SHOWN])
        more = ", ..." if len(few) > NAMES_SHOWN else ""
        said.append(
            f"fewer than {LEAST_POSITIVES} training images have {names}{more}, so the threshold is the one that is "
            "best for all labels together"
        )
    return said


def _card(judgement: LabelJudgement, notes: Sequence[str]) -> tuple[str, ...]:
    return (
        f"several labels per image: mean average precision {judgement.mean_average_precision:.2f} %, micro F1 "
        f"{judgement.micro_f1:.2f} %, macro F1 {judgement.macro_f1:.2f} % on {judgement.images} test images",
        *notes,
    )

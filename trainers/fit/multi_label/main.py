"""One training on own images with several labels each, from the table to a saved and tested adapter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adaptkit import ClassSet, MultiLabelFitResult
from adaptkit.artefacts.card import TrainingFacts
from adaptkit.front_door import FitArguments
from adaptkit.wrappers import MultiLabel
from datasets_fewshot import Item
from datasets_fewshot.own.multi_label import MultiLabelDataset, load_multi_label
from datasets_fewshot.splits.multi_label import draw_positives
from datasets_fewshot.splits.split_files import MAX_VAL_SHOTS
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench
from trainers.config.load import load_bench
from trainers.config.settings import RunConfig
from trainers.evaluation.multi_label import LabelJudgement, judge_labels
from trainers.evaluation.scoring import Bools, Floats
from trainers.fit.checks import check_names
from trainers.fit.defaults import EMBEDDED, default_shots, embedded_settings, size_settings
from trainers.fit.earlier import forget_earlier
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
from trainers.runs.records import RUNS_FOLDER

WRAPPER = "multi_label"
NAMES_SHOWN = 5

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A trained method with its thresholds, and what it answers to the N test images."""

    method: MultiLabel
    few: tuple[int, ...]  # labels that take the common threshold
    log_odds: Floats  # (N, C)
    targets: Bools  # (N, C)
    judgement: LabelJudgement


def fit_labels(
    asked: FitArguments, folder: Path, fixed: dict[str, object], notes: Sequence[str]
) -> MultiLabelFitResult:
    """Train with a sigmoid for each label, choose thresholds on folds of the training images, test, and save.

    Args:
        folder: of the adapter.
        fixed: settings that hold unless the user's say otherwise, without shots; METHODS are zero_shot and the method.
        notes: remarks for the user, besides those of the data set.

    Raises:
        ValueError: if the method or a setting does not go with several labels per image; before any training.
    """
    _refuse(asked)
    dataset, overrides, tell = _labelled(asked), asked.overrides, asked.tell
    drawn = asked.shots or default_shots(dataset.targets(dataset.images.split.train).sum(axis=0).tolist())
    fixed = {**fixed, "WRAP": [WRAPPER, *(name for name in asked.wrap if name != WRAPPER)], "SHOTS": [drawn]}
    if asked.backbone == EMBEDDED:
        fixed |= embedded_settings(asked.method)
    # What is kept of trainings, from which the same call goes on, lies among the adapter's runs.
    bench = open_bench(load_bench(None, overrides, fixed), folder / RUNS_FOLDER, cache_folder() / "features")
    task = _task(dataset, drawn, fixed, overrides, bench)
    counted = f"{len(task.train)} training images, {len(dataset.images.split.test)} test images"
    tell(f"{len(dataset.classnames)} labels, {drawn} shots of each: {counted}")
    for note in dataset.notes:
        tell(f"note: {note}")
    zero_shot = _trained(_baseline(task, fixed, overrides), bench, tell).judgement
    trained = _trained(task, bench, tell)
    every_note = (*notes, *dataset.notes, *_notes(dataset, trained.few, len(task.train)))
    facts = TrainingFacts(dataset.name, drawn, seed=task.run.seed, notes=_card(trained.judgement, every_note))
    forget_earlier(folder)
    trained.method.save_pretrained(folder, facts)
    write_labels(trained.judgement, folder)
    worst = _write_worst(trained, dataset, folder)
    result = _result(trained, zero_shot, drawn, folder, worst, every_note)
    write_summary(result, trained.judgement, folder)
    return result


def _refuse(asked: FitArguments) -> None:
    """Check that nothing is asked for that several labels per image have no use for.

    Raises:
        ValueError: names the argument.
    """
    for name in ("start_from", "split", "describe", "calibrate"):
        value = getattr(asked, name)
        if value is not None and value is not False:
            written = value if isinstance(value, bool) else str(value)
            raise ValueError(
                f"{name}={written!r} is for images of one class each, and the table has several labels per image; "
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


def _task(
    dataset: MultiLabelDataset, shots: int, fixed: dict[str, object], overrides: Sequence[str], bench: Bench
) -> LabelTask:
    """The drawn images, and the settings that suit their number.

    Raises:
        ValueError: if a name is too long for the text tower, or the method cannot learn several labels.
    """
    run, split, n_labels = _run(fixed, overrides), dataset.images.split, len(dataset.classnames)
    check_names(ClassSet(dataset.classnames, run.templates), bench.backbone)

    def draw(items: Sequence[Item], most: int) -> tuple[Item, ...]:
        labels = [dataset.labels[item.label] for item in items]
        return tuple(items[place] for place in draw_positives(labels, n_labels, most, run.seed))

    train = draw(split.train, shots)
    val = () if run.selection == "validation_free" else draw(split.val, min(shots, MAX_VAL_SHOTS))
    task = LabelTask(dataset, train, val, run)
    sized = size_settings(run, len(train), make(task, bench).consumes)
    return replace(task, run=_run({**fixed, **sized}, overrides))


def _baseline(task: LabelTask, fixed: dict[str, object], overrides: Sequence[str]) -> LabelTask:
    """Zero-shot on the same images, with the wrapper of several labels alone."""
    plain = load_bench(None, overrides, fixed).runs[0]
    return replace(task, run=replace(plain, wrap=((WRAPPER, dict(task.run.wrap)[WRAPPER]),)))


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


def _trained(task: LabelTask, bench: Bench, tell: Tell) -> Trained:
    """Train a method, choose its thresholds, and test it."""
    name, dataset = task.run.label, task.dataset
    tell(f"{name} on {bench.backbone.device} ...")
    folds, targets = held_out(task, bench, lambda fold, count: tell(f"{name}: fold {fold} of {count} for thresholds"))
    on_epoch: OnEpoch = lambda done: tell(f"{name}: epoch {done}")  # noqa: E731 - named for its type
    method = learn(task, bench, on_epoch)
    few = settle(method, folds, targets)
    log_odds, targets = log_odds_of(method, dataset, dataset.images.split.test, bench)
    judgement = judge_labels(log_odds, targets, thresholds_of(method), dataset.classnames)
    tell(f"{name}: mean average precision {judgement.mean_average_precision:.1f} %")
    return Trained(method, few, log_odds, targets, judgement)


def thresholds_of(method: MultiLabel) -> Floats:
    """Log odds (C,) from which labels are answers."""
    return method.label_thresholds.double().cpu().numpy()


def _write_worst(trained: Trained, dataset: MultiLabelDataset, folder: Path) -> tuple[Path, ...]:
    """Draw the test images that are answered worst; returns where they lie."""
    log_odds, targets, thresholds = trained.log_odds, trained.targets, thresholds_of(trained.method)
    worst = worst_images(log_odds, targets, thresholds)
    items = [dataset.images.split.test[place] for place in worst]
    write_sheet(dataset, items, (log_odds >= thresholds)[worst], targets[worst], folder)
    return tuple(dataset.images.path(item) for item in items)


def _result(
    trained: Trained,
    zero_shot: LabelJudgement,
    shots: int,
    folder: Path,
    worst: tuple[Path, ...],
    notes: tuple[str, ...],
) -> MultiLabelFitResult:
    judgement = trained.judgement
    return MultiLabelFitResult(
        method=trained.method,
        folder=folder,
        shots=shots,
        test_images=judgement.images,
        accuracy=judgement.accuracy,
        interval=judgement.interval,
        zero_shot_accuracy=zero_shot.accuracy,
        confusions=(),
        worst_images=worst,
        notes=notes,
        metrics=metrics(judgement),
        mean_average_precision=judgement.mean_average_precision,
        zero_shot_mean_average_precision=zero_shot.mean_average_precision,
        micro_f1=judgement.micro_f1,
        macro_f1=judgement.macro_f1,
    )


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

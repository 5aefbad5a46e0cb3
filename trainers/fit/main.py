"""One training on own images, from the folder to a saved and tested adapter: what `adaptkit.fit` and `train` call."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from adaptkit import AdaptedCLIP, ClassSet, FitResult, TextGain, create_method, method_class
from adaptkit.artefacts.atomic_file import is_half_written
from adaptkit.artefacts.files import CALIBRATION_FILE, CARD_FILE, CONFIG_FILE, TENSORS_FILE
from adaptkit.contract.method import Consumes
from adaptkit.front_door import FitArguments
from adaptkit.regular_file import user_path
from adaptkit.texts.class_texts import read_class_texts
from datasets_fewshot import FewShotDataset
from datasets_fewshot.own.image_table import TableOptions
from datasets_fewshot.own.label_table import has_several_labels
from datasets_fewshot.own.usable import check_usable
from datasets_fewshot.splits.content_marks import content_marks
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.jobs import tidy
from trainers.bench.plan import Plan, open_bench, plan
from trainers.compute.seeds import seeded
from trainers.config.load import load_bench
from trainers.config.settings import BenchConfig, RunConfig
from trainers.evaluation.judgement_files import metrics, write_judgement
from trainers.evaluation.logits import predict
from trainers.evaluation.metrics import judge
from trainers.fit.calibrating import (
    FOLDS_FOLDER,
    calibrate_method,
    check_can_be_calibrated,
    marks_of_start,
    write_training_marks,
)
from trainers.fit.checks import check_arguments, check_names, check_place
from trainers.fit.defaults import EMBEDDED, default_shots, embedded_settings, size_settings
from trainers.fit.earlier import forget_earlier
from trainers.fit.held_out import HeldOut, held_out
from trainers.fit.multi_label.main import WRAPPER, fit_labels
from trainers.fit.own_data import own_data, own_settings
from trainers.fit.report import confusions, what_certainty, worst_images, write_sheet, write_summary
from trainers.fit.text_gains import text_gains
from trainers.runs.adapter import load_run
from trainers.runs.data import Bench
from trainers.runs.execute import execute
from trainers.runs.identity import Run
from trainers.runs.records import RUNS_FOLDER, ResultRecord
from trainers.runs.start import ZERO_SHOT, load_start


def fit(asked: FitArguments, why: str = "", held: HeldOut | None = None) -> FitResult:
    """Check the data, train, test beside zero-shot, save.

    Args:
        why: a sentence for the model card on how the method was chosen.
        held: what trainings without a fold said of the training images, where a calibration is asked for; None has them
            trained.
    """
    method_class(asked.method)  # refuses an unknown name before anything is read
    check_arguments(asked)
    data = user_path(asked.data, "data")
    folder = out_folder(asked.out, data, asked.method)
    check_place(asked.start_from, folder)
    fixed = own_settings(asked)
    fixed |= {"METHODS": list(dict.fromkeys(("zero_shot", asked.method))), "WRAP": list(asked.wrap)}
    notes: list[str] = []
    if asked.backbone == EMBEDDED:
        notes.append(f"{EMBEDDED} is a small model of drawings and icons; for photographs take a larger backbone")
    if has_several_labels(data, TableOptions(asked.path_column, asked.label_column, asked.encoding)):
        return fit_labels(asked, folder, fixed, notes)
    dataset = own_data(asked)
    notes = [*check_usable(dataset), *notes]
    if WRAPPER in asked.wrap:
        notes.append(
            f"{WRAPPER}: images have one class each, so no threshold is chosen, and all are scores of one half"
        )
    todo, bench = _planned(asked, dataset, folder, fixed)
    records = [todo.finished.get(run.run_id) or _execute(run, bench, asked.tell) for run in todo.runs]
    for run in todo.runs:
        tidy(run)
    run, record = todo.runs[-1], records[-1]
    gains = () if asked.describe is None else text_gains(todo.runs[:2], records[:2], bench)
    trained, facts = load_run(run.folder, bench.backbone)
    if asked.calibrate:
        if held is None:
            held = held_out(run, bench, trained, folder / FOLDS_FOLDER, asked.tell)
        notes += calibrate_method(trained, held, asked.most_false_rejections)
    forget_earlier(folder)
    trained.save_pretrained(folder, dataclasses.replace(facts, notes=(*filter(None, [why]), *facts.notes)))
    write_training_marks(run, trained, folder, marks_of_start(asked.start_from))
    notes = list(dict.fromkeys((*notes, *record.notes)))
    result = _result(trained, run, record, records[0], bench, folder, notes, gains)
    write_summary(result, folder)
    return result


def _planned(
    asked: FitArguments, dataset: FewShotDataset, folder: Path, fixed: dict[str, object]
) -> tuple[Plan, Bench]:
    """The runs of a training with what they share, after all checks that need the backbone.

    Args:
        fixed: settings that hold unless the user's say otherwise.
    """
    method, start_from = asked.method, asked.start_from
    texts = None if asked.describe is None else read_class_texts(asked.describe)
    if texts is not None:
        texts.check(dataset.classnames)
    drawn = asked.shots or default_shots(training_counts(dataset))
    fixed = {**fixed, "SHOTS": [drawn]}
    if asked.backbone == EMBEDDED:
        fixed |= embedded_settings(method)
    recipe = _beside_zero_shot(load_bench(None, asked.overrides, fixed))
    asked.tell(f"{len(dataset.classnames)} classes, {drawn} shots, {len(dataset.split.test)} test images")
    for note in dataset.notes:
        asked.tell(f"note: {note}")
    bench = open_bench(recipe, folder / RUNS_FOLDER, cache_folder() / "features")
    if start_from is not None:
        bench = dataclasses.replace(bench, start=load_start(start_from, bench.backbone))
    classes = ClassSet(dataset.classnames, recipe.runs[0].templates)
    check_names(classes if texts is None else texts.described(classes, takes_sentences=False), bench.backbone)
    fixed |= size_settings(
        recipe.runs[-1], _images_drawn(dataset, drawn), _consumes(recipe.runs[-1], bench, dataset.classnames)
    )
    todo = plan(_beside_zero_shot(load_bench(None, asked.overrides, fixed)), bench)
    if start_from is not None and (method == ZERO_SHOT or not todo.runs[-1].uses_training):
        raise ValueError(f"{method} learns nothing, so it cannot start from {start_from}; leave it out")
    if asked.calibrate:
        check_can_be_calibrated(todo.runs[-1], bench, asked.most_false_rejections)
    return todo, bench


def _execute(run: Run, bench: Bench, tell: Callable[[str], None]) -> ResultRecord:
    name = run.config.label if run.config.texts is None else f"{run.config.label} by your texts"
    tell(f"{name} on {bench.backbone.device} ...")
    record = execute(run, bench, lambda done: tell(f"{name}: epoch {done}"))
    tell(f"{name}: {record.scores[0].accuracy:.1f} %")
    return record


def out_folder(out: str | Path | None, data: Path, method: str) -> Path:
    """Where the adapter goes; what lies there may be an earlier adapter and nothing else."""
    folder = user_path(f"{data.resolve().stem}-{method}" if out is None else out, "data")
    is_taken = folder.is_file() or (folder.is_dir() and not (folder / CONFIG_FILE).is_file() and not _is_begun(folder))
    if is_taken:
        raise ValueError(f"{folder} exists and is no adapter; give another folder with --out")
    return folder


def _is_begun(folder: Path) -> bool:
    """Whether a folder is empty, or holds what a training leaves that is stopped before its adapter is whole."""
    names = {entry.name for entry in folder.iterdir() if not is_half_written(entry)}
    if RUNS_FOLDER in names:
        names -= {FOLDS_FOLDER}
    if CARD_FILE in names:
        names -= {CALIBRATION_FILE}
    in_order = (RUNS_FOLDER, TENSORS_FILE, CARD_FILE)  # as they are written; the config, which is the last, is missing
    # A training on several labels that takes no steps keeps no runs.
    return names | {RUNS_FOLDER} in [set(in_order[:count]) for count in range(1, len(in_order) + 1)]


def training_counts(dataset: FewShotDataset) -> list[int]:
    """Training images of each class, C numbers."""
    labels = torch.tensor([item.label for item in dataset.split.train])
    return torch.bincount(labels, minlength=len(dataset.classnames)).tolist()


def _images_drawn(dataset: FewShotDataset, shots: int) -> int:
    return sum(min(shots, count) for count in training_counts(dataset))


def _consumes(run: RunConfig, bench: Bench, classnames: Sequence[str]) -> Consumes:
    """What the method consumes, which may depend on its options: it is made for two classes, and thrown away."""
    with seeded(0, bench.backbone.device):
        return create_method(run.method, bench.backbone, classnames[:2], run.options, wrap=run.wrap).consumes


def _beside_zero_shot(config: BenchConfig) -> BenchConfig:
    """The runs of a training: plain zero-shot, zero-shot by texts where there are some, and the method as it is."""
    described = dataclasses.replace(config.runs[0], wrap=())
    runs = (dataclasses.replace(described, texts=None), described, config.runs[-1])
    different = [run for place, run in enumerate(runs) if run not in runs[:place]]
    return dataclasses.replace(config, runs=tuple(different))


def _result(
    method: AdaptedCLIP,
    run: Run,
    record: ResultRecord,
    zero_shot: ResultRecord,
    bench: Bench,
    folder: Path,
    notes: Sequence[str],
    gains: tuple[TextGain, ...],
) -> FitResult:
    (test,) = run.task.tests
    logits, labels = predict(method, bench.feed(method).test(test), bench.precision)
    worst = worst_images(logits, labels)
    items = [test.items[place] for place in worst]
    write_sheet(test.dataset, items, logits[worst], folder)
    judgement = judge(logits, labels, test.classnames)
    write_judgement(judgement, folder)
    how_sure, lines = what_certainty(method, logits, labels, content_marks(test.dataset, test.items), folder)
    (score,) = record.scores
    assert score.interval is not None  # few_shot classifies
    return FitResult(
        method=method,
        folder=folder,
        shots=record.shots,
        test_images=score.total,
        accuracy=score.accuracy,
        interval=score.interval,
        zero_shot_accuracy=zero_shot.scores[0].accuracy,
        confusions=confusions(logits, labels, test.classnames),
        worst_images=tuple(test.dataset.path(item) for item in items),
        notes=tuple(notes),
        metrics=metrics(judgement) | how_sure,
        certainty=lines,
        text_gains=gains,
    )

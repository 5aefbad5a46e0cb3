"""One training on own images, from the folder to a saved and tested adapter: what `adaptkit.fit` and `train` call."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from adaptkit import AdaptedCLIP, ClassSet, FitResult, TextGain, create_method, method_class
from adaptkit.artefacts.atomic_file import is_half_written
from adaptkit.artefacts.files import CALIBRATION_FILE, CARD_FILE, CONFIG_FILE, TENSORS_FILE
from adaptkit.backbone.devices import choose_device
from adaptkit.contract.method import Consumes
from adaptkit.regular_file import user_path
from adaptkit.texts.class_texts import read_class_texts
from datasets_fewshot import FewShotDataset, load_own_data
from datasets_fewshot.own.image_table import TableOptions
from datasets_fewshot.own.label_table import has_several_labels
from datasets_fewshot.own.multi_label import load_multi_label
from datasets_fewshot.own.usable import check_usable
from datasets_fewshot.splits.content_marks import content_marks
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.jobs import tidy
from trainers.bench.plan import open_bench, plan
from trainers.compute.seeds import seeded
from trainers.config.load import load_bench
from trainers.config.settings import BenchConfig, RunConfig
from trainers.evaluation.judgement_files import metrics, write_judgement
from trainers.evaluation.logits import predict
from trainers.evaluation.metrics import judge
from trainers.fit.calibrating import FOLDS_FOLDER, calibrate_on_folds, check_can_be_calibrated, write_training_marks
from trainers.fit.checks import check_calibrate, check_names, check_place, check_words
from trainers.fit.defaults import EMBEDDED, default_shots, embedded_settings, size_settings
from trainers.fit.earlier import forget_earlier
from trainers.fit.multi_label.main import WRAPPER, fit_labels, refuse_for_labels
from trainers.fit.own_settings import own_settings
from trainers.fit.report import confusions, what_certainty, worst_images, write_sheet, write_summary
from trainers.fit.text_gains import text_gains
from trainers.runs.adapter import load_run
from trainers.runs.data import Bench
from trainers.runs.execute import execute
from trainers.runs.identity import Run
from trainers.runs.records import ResultRecord
from trainers.runs.start import ZERO_SHOT, load_start

RUNS_FOLDER = "runs"  # inside the adapter's folder


def fit(
    method: str,
    data: str | Path,
    out: str | Path | None = None,
    *,
    shots: int | None = None,
    seed: int = 1,
    backbone: str = EMBEDDED,
    pretrained: str | None = None,
    checkpoint: str | Path | None = None,
    image_size: int | None = None,
    classnames: str | Path | None = None,
    templates: Sequence[str] = (),
    split: str | Path | None = None,
    skip_bad: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    encoding: str | None = None,
    redraw: bool = False,
    val_as_test: bool = False,
    device: str = "auto",
    start_from: str | Path | None = None,
    describe: str | Path | None = None,
    wrap: Sequence[str] = (),
    calibrate: bool = False,
    most_false_rejections: float | None = None,
    overrides: Sequence[str] = (),
    on_message: Callable[[str], None] | None = None,
    why: str = "",
) -> FitResult:
    """Check the data, train, test beside zero-shot, save; the arguments are those of `adaptkit.fit`.

    Args:
        why: a sentence for the model card on how the method was chosen.
    """
    tell = on_message or say_nothing
    method_class(method)  # refuses an unknown name before anything is read
    check_words(data=data, out=out, classnames=classnames, split=split, checkpoint=checkpoint, device=device)
    check_words(start_from=start_from, describe=describe)
    check_calibrate(calibrate, most_false_rejections, start_from)
    choose_device(device)
    if shots is not None and shots < 1:
        raise ValueError(f"shots={shots}; expected 1 or more training images per class, or None for what there is")
    folder = out_folder(out, user_path(data, "data"), method)
    check_place(start_from, folder)
    fixed = own_settings(
        data,
        seed,
        device=device,
        backbone=backbone,
        pretrained=pretrained,
        checkpoint=checkpoint,
        image_size=image_size,
        classnames=classnames,
        split=split,
        skip_bad=skip_bad,
        path_column=path_column,
        label_column=label_column,
        encoding=encoding,
        val_as_test=val_as_test,
        templates=templates,
        describe=describe,
    )
    fixed |= {"METHODS": list(dict.fromkeys(("zero_shot", method))), "WRAP": list(wrap)}
    notes: list[str] = []
    if backbone == EMBEDDED:
        notes.append(f"{EMBEDDED} is a small model of drawings and icons; for photographs take a larger backbone")
    if has_several_labels(user_path(data, "data"), TableOptions(path_column, label_column, encoding)):
        refuse_for_labels(start_from=start_from, split=split, describe=describe, calibrate=calibrate or None)
        labelled = load_multi_label(
            data,
            classnames=classnames,
            skip_bad=skip_bad,
            path_column=path_column,
            label_column=label_column,
            encoding=encoding,
            redraw=redraw,
            val_as_test=val_as_test,
        )
        fixed["WRAP"] = [WRAPPER, *(name for name in wrap if name != WRAPPER)]
        runs = folder / RUNS_FOLDER
        return fit_labels(labelled, folder, fixed, shots=shots, overrides=overrides, notes=notes, tell=tell, runs=runs)
    dataset = load_own_data(
        data,
        split=split,
        classnames=classnames,
        skip_bad=skip_bad,
        path_column=path_column,
        label_column=label_column,
        encoding=encoding,
        redraw=redraw,
        val_as_test=val_as_test,
    )
    notes = [*check_usable(dataset), *notes]
    if WRAPPER in wrap:
        notes.append(
            f"{WRAPPER}: images have one class each, so no threshold is chosen, and all are scores of one half"
        )
    texts = None if describe is None else read_class_texts(describe)
    if texts is not None:
        texts.check(dataset.classnames)
    drawn = shots or default_shots(training_counts(dataset))
    fixed["SHOTS"] = [drawn]
    if backbone == EMBEDDED:
        fixed |= embedded_settings(method, drawn)
    recipe = _beside_zero_shot(load_bench(None, overrides, fixed))
    tell(f"{len(dataset.classnames)} classes, {drawn} shots, {len(dataset.split.test)} test images")
    for note in dataset.notes:
        tell(f"note: {note}")
    bench = open_bench(recipe, folder / RUNS_FOLDER, cache_folder() / "features")
    if start_from is not None:
        bench = dataclasses.replace(bench, start=load_start(start_from, bench.backbone))
    classes = ClassSet(dataset.classnames, recipe.runs[0].templates)
    check_names(classes if texts is None else texts.described(classes, takes_sentences=False), bench.backbone)
    fixed |= size_settings(
        recipe.runs[-1], _images_drawn(dataset, drawn), _consumes(recipe.runs[-1], bench, dataset.classnames)
    )
    todo = plan(_beside_zero_shot(load_bench(None, overrides, fixed)), bench)
    if start_from is not None and (method == ZERO_SHOT or not todo.runs[-1].uses_training):
        raise ValueError(f"{method} learns nothing, so it cannot start from {start_from}; leave it out")
    if calibrate:
        check_can_be_calibrated(todo.runs[-1], bench, most_false_rejections)
    records = [todo.finished.get(run.run_id) or _execute(run, bench, tell) for run in todo.runs]
    for run in todo.runs:
        tidy(run)
    run, record = todo.runs[-1], records[-1]
    gains = () if describe is None else text_gains(todo.runs[:2], records[:2], bench)
    trained, facts = load_run(run.folder, bench.backbone)
    if calibrate:
        notes += calibrate_on_folds(trained, run, bench, folder, most_false_rejections, tell)
    forget_earlier(folder)
    trained.save_pretrained(folder, dataclasses.replace(facts, notes=(*filter(None, [why]), *facts.notes)))
    write_training_marks(run, folder)
    notes = list(dict.fromkeys((*notes, *record.notes)))
    result = _result(trained, run, record, records[0], bench, folder, notes, gains)
    write_summary(result, folder)
    return result


def _execute(run: Run, bench: Bench, tell: Callable[[str], None]) -> ResultRecord:
    name = run.config.label if run.config.texts is None else f"{run.config.label} by your texts"
    tell(f"{name} on {bench.backbone.device} ...")
    record = execute(run, bench, lambda done: tell(f"{name}: epoch {done}"))
    tell(f"{name}: {record.scores[0].accuracy:.1f} %")
    return record


def say_nothing(message: str) -> None:
    return None


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

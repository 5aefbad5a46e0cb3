"""The data sets that a bench learns from and tests on, loaded once, and the tasks that its runs have with them."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from adaptkit.regular_file import user_path
from adaptkit.texts.class_texts import read_class_texts
from datasets_fewshot import PAPER_DATASETS, DatasetNotFoundError, FewShotDataset, load_dataset, load_own_data
from datasets_fewshot.own.usable import check_usable
from trainers.config.data_settings import own_name
from trainers.config.listed_split import FALLBACK, listed_split
from trainers.config.settings import BenchConfig, DataConfig, RunConfig
from trainers.protocols.registry import get_protocol
from trainers.protocols.task import NO_TARGETS, Sources, Task, Wanted, with_all_unlabelled
from trainers.runs.start import ZERO_SHOT
from trainers.runs.task_checks import check_source, check_task


def load_sources(config: BenchConfig) -> Sources:
    """Load every data set that the bench names.

    Raises:
        ValueError: if data sets and targets do not fit the protocol, or data are not what they should be;
            FileNotFoundError if they are missing.
    """
    settings, data = config.settings, config.data
    wanted = Wanted(settings.datasets, settings.targets, partial(_load, data, settings.datasets), data.families)
    try:
        sources = get_protocol(settings.protocol).load(wanted)
    except DatasetNotFoundError as error:
        raise DatasetNotFoundError(f"{error}{_what_would_run(settings.datasets, data)}") from error
    if config.data.describe is not None:
        every = [*sources.datasets.values(), *(data for others in sources.targets.values() for data in others.values())]
        texts = read_class_texts(config.data.describe)
        texts.check(tuple(dict.fromkeys(name for dataset in every for name in dataset.classnames)))
    if not config.data.own:  # `check_own` asks more of those
        for dataset in sources.datasets.values():
            check_source(dataset)
    return sources


def _what_would_run(names: tuple[str, ...], data: DataConfig) -> str:
    """Which of the named data sets of the papers are there, and the words that take only these."""
    root = None if data.root is None else user_path(data.root, "root")
    split = FALLBACK if data.split == FALLBACK else "paper"
    there = [name for name in names if name in PAPER_DATASETS and _is_there(name, root, split)]
    if root is None or not there or len(there) == len(names):
        return ""
    missing = ", ".join(name for name in names if name not in there)
    return f". Missing: {missing}. The others are there: --datasets {','.join(there)}"


def _is_there(name: str, root: Path | None, split: str) -> bool:
    try:
        PAPER_DATASETS[name].load(root, split=split)
    except (ValueError, OSError, ImportError):
        return False
    return True


def make_task(run: RunConfig, sources: Sources) -> Task:
    """What a run trains on and is tested on.

    Raises:
        ValueError: if it has nothing to learn from, nothing to be tested on, or one class to choose from.
    """
    dataset, targets = sources.datasets[run.dataset], sources.targets.get(run.dataset, NO_TARGETS)
    task = get_protocol(run.protocol).make_task(dataset, run.shots, run.seed, run.draw, targets)
    if run.unlabelled == "all":
        task = with_all_unlabelled(task, dataset)
    check_task(task, dataset, run.protocol)
    return replace(task, val=()) if run.selection == "validation_free" else task


def _load(data: DataConfig, names: tuple[str, ...], name: str, **options: str) -> FewShotDataset:
    if data.own:
        path = next(path for path in data.own if own_name(path) == name)
        return replace(_load_own(data, path), name=name)
    listed = listed_split(data, names)
    if data.split == FALLBACK:
        options = {"split": FALLBACK, **options}
    elif listed is not None and listed.dataset == name:
        options = {"split": data.split or "", **options}
    return load_dataset(name, data.root, **options)


def _load_own(data: DataConfig, path: str, redraw: bool = False) -> FewShotDataset:
    return load_own_data(
        path,
        split=data.split,
        classnames=data.classnames,
        skip_bad=data.skip_bad,
        path_column=data.path_column,
        label_column=data.label_column,
        encoding=data.encoding,
        val_as_test=data.val_as_test,
        redraw=redraw,
    )


def redraw_own(data: DataConfig) -> None:
    """Draw the splits of own data again; whoever loads them later finds the new ones.

    Raises:
        ValueError: if data are not what they should be, or their split is not drawn.
    """
    for path in data.own:
        _load_own(data, path, redraw=True)


def check_own(config: BenchConfig, sources: Sources) -> tuple[str, ...]:
    """Check own data before anything is computed, and return notes on them for the user.

    Raises:
        ValueError: if a data set has one class only, two classes of one name, or no images to learn from or test on.
    """
    if not config.data.own:
        return ()
    training = any(run.method != ZERO_SHOT for run in config.runs)
    needs = {name: (dataset, training) for name, dataset in sources.datasets.items()}
    for targets in sources.targets.values():
        needs |= {name: (dataset, False) for name, dataset in targets.items() if name not in needs}
    notes = []
    for name, (dataset, learnt) in needs.items():
        notes += [f"{name}: {note}" for note in (*dataset.notes, *check_usable(dataset, learnt))]
        if learnt:
            check_source(dataset)
    return tuple(dict.fromkeys(notes))

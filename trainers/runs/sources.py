"""The data sets that a bench learns from and tests on, loaded once, and the tasks that its runs have with them."""

from dataclasses import replace
from functools import partial

from datasets_fewshot import FewShotDataset, load_dataset, load_own_data
from datasets_fewshot.own.usable import check_usable
from trainers.config.data_settings import own_name
from trainers.config.settings import BenchConfig, DataConfig, RunConfig
from trainers.protocols.registry import get_protocol
from trainers.protocols.task import NO_TARGETS, Sources, Task, Wanted

ZERO_SHOT = "zero_shot"  # the method that learns nothing of images


def load_sources(config: BenchConfig) -> Sources:
    """Load every data set that the bench names.

    Raises:
        ValueError: if data sets and targets do not fit the protocol, or data are not what they should be;
            FileNotFoundError if they are missing.
    """
    settings, data = config.settings, config.data
    wanted = Wanted(settings.datasets, settings.targets, partial(_load, data), data.families)
    return get_protocol(settings.protocol).load(wanted)


def make_task(run: RunConfig, sources: Sources) -> Task:
    """What a run trains on and is tested on.

    Raises:
        ValueError: if a test has no images, or its data set has one class only, so that every answer would be right.
    """
    dataset, targets = sources.datasets[run.dataset], sources.targets.get(run.dataset, NO_TARGETS)
    task = get_protocol(run.protocol).make_task(dataset, run.shots, run.seed, run.draw, targets)
    for test in task.tests:
        where = f"{run.dataset}, {get_protocol(run.protocol).title.lower()}, test {test.name!r}"
        if not test.items:
            raise ValueError(f"{where}: there are no test images, so there is nothing to report; add some")
        if len(test.dataset.classnames) < 2:
            raise ValueError(
                f"{where}: the data set has one class only, {test.classnames[0]!r}, so every answer would be right and "
                "100 % would say nothing; add a class, or leave the data set out"
            )
    return task


def _load(data: DataConfig, name: str, **options: str) -> FewShotDataset:
    if data.own:
        path = next(path for path in data.own if own_name(path) == name)
        return replace(_load_own(data, path), name=name)
    if data.split == "fallback":
        options = {"split": "fallback", **options}
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
    return tuple(dict.fromkeys(notes))


def check_tests(task: Task, dataset: str) -> tuple[str, ...]:
    """Check that every test of own data has images, and return a note on those with one class, the half of two.

    Raises:
        ValueError: names the test without images.
    """
    notes = []
    for test in task.tests:
        if not test.items:
            raise ValueError(
                f"{dataset}: the test {test.name!r} has no images; add some of {', '.join(test.classnames[:5])}, or "
                "take --protocol few_shot, which tests all classes together"
            )
        if len(test.classnames) < 2:
            notes.append(
                f"{dataset}: the test {test.name!r} has one class, {test.classnames[0]!r}, and every answer is right; "
                "add classes, or take --protocol few_shot, which tests all classes together"
            )
    return tuple(notes)

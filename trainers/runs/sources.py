"""The data sets that a bench learns from and tests on, loaded once, and the tasks that its runs have with them."""

from dataclasses import replace
from functools import partial

from datasets_fewshot import FewShotDataset, load_dataset, load_own_data
from trainers.config.data_settings import own_name
from trainers.config.settings import BenchConfig, DataConfig, RunConfig
from trainers.protocols.registry import get_protocol
from trainers.protocols.task import NO_TARGETS, Sources, Task, Wanted


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
        own = load_own_data(path, split=data.split, classnames=data.classnames, skip_bad=data.skip_bad)
        return replace(own, name=name)
    if data.split == "fallback":
        options = {"split": "fallback", **options}
    return load_dataset(name, data.root, **options)

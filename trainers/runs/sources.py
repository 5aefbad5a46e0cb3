"""The data sets of a bench, for learning and testing, loaded once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from datasets_fewshot import FewShotDataset, Split, list_datasets, load_dataset, load_own_data
from trainers.config.load import own_name
from trainers.config.settings import BenchConfig, DataConfig, RunConfig
from trainers.config.values import ConfigError, check_name
from trainers.protocols.within_and_across import TRANSFERS, VARIANTS, WITHIN_ONE, Task


@dataclass(frozen=True)
class Sources:
    """Data sets by name, and for each of them other data sets to test on: test name -> data set."""

    datasets: Mapping[str, FewShotDataset]
    targets: Mapping[str, Mapping[str, FewShotDataset]]

    def task(self, run: RunConfig) -> Task:
        """Training and tests of a run."""
        dataset = self.datasets[run.dataset]
        if run.protocol in WITHIN_ONE:
            return WITHIN_ONE[run.protocol](dataset, run.shots, run.seed, run.draw)
        return TRANSFERS[run.protocol](dataset, self.targets[run.dataset], run.shots, run.seed, run.draw)


def load_sources(config: BenchConfig) -> Sources:
    """Load every data set that the bench names.

    Raises:
        ConfigError: if data sets and targets do not fit the protocol.
        ValueError: if data are not as expected.
        FileNotFoundError: if data are missing.
    """
    settings, data = config.settings, config.data
    if settings.protocol == "domain_generalization":
        return _domains(config)
    transfers = settings.protocol == "cross_dataset"
    loaded = {name: _load(name, data) for name in dict.fromkeys((*settings.datasets, *settings.targets))}
    targets = {
        source: {name: loaded[name] for name in settings.targets if name != source} for source in settings.datasets
    }
    if transfers and not all(targets.values()):
        raise ConfigError("cross_dataset needs a data set to test on besides the one to learn from; add to TARGETS")
    return Sources({name: loaded[name] for name in settings.datasets}, targets if transfers else {})


def _domains(config: BenchConfig) -> Sources:
    """Domains of the embedded suite, drawings of other families, or of the papers, ImageNet and its variants."""
    settings, data = config.settings, config.data
    if not settings.targets:
        raise ConfigError("TARGETS is empty; name the domains to test on")
    if data.families:
        targets = {
            name: {family: _load_family(name, data, family) for family in settings.targets}
            for name in settings.datasets
        }
        return Sources({name: _trained_only(next(iter(own.values()))) for name, own in targets.items()}, targets)
    if settings.datasets != ("imagenet",):
        raise ConfigError(
            f"DATASETS is {', '.join(settings.datasets)}; in domain_generalization the papers learn from imagenet only"
        )
    for name in settings.targets:
        check_name("TARGETS", name, list_datasets(VARIANTS))
    return Sources(
        {"imagenet": _load("imagenet", data)},
        {"imagenet": {name: load_dataset(name, data.root) for name in settings.targets}},
    )


def _load_family(name: str, data: DataConfig, family: str) -> FewShotDataset:
    return load_dataset(name, data.root, train_families=",".join(data.families), test_family=family)


def _trained_only(dataset: FewShotDataset) -> FewShotDataset:
    """A data set without its test list, which is one of the domains."""
    return replace(dataset, split=Split(dataset.split.train, dataset.split.val, ()))


def _load(name: str, data: DataConfig) -> FewShotDataset:
    if data.own:
        path = next(path for path in data.own if own_name(path) == name)
        own = load_own_data(path, split=data.split, classnames=data.classnames, skip_bad=data.skip_bad)
        return replace(own, name=name)
    if data.split == "fallback":
        return load_dataset(name, data.root, split="fallback")
    return load_dataset(name, data.root)

"""A tiny CLIP and a synthetic data set in the place of the real ones, and work that takes them to other processes."""

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import adaptkit
import trainers.bench.main
import trainers.bench.plan
import trainers.cli.command  # with what follows, so that forks need not import it
import trainers.fit.main
import trainers.runs.adapter
from adaptkit import FrozenCLIP
from benchmarks.kills.moments import Moment
from datasets_fewshot import FewShotDataset, registry
from datasets_fewshot.store import claims
from tests.helpers.models import build
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.bench.jobs import choose_launcher
from trainers.bench.plan import Plan
from trainers.config.settings import BenchConfig
from trainers.launchers import Job, Launcher, Place, Tell, Work
from trainers.launchers.base import Perform
from trainers.runs.data import Bench

SUITE, DATASET = "mini", "noise"


@dataclass(frozen=True)
class Tiny:
    """What every process of a command is given instead of what a user has."""

    images: Path  # folder of the synthetic images
    moment: Moment | None = None
    lease_seconds: float | None = None  # shorter, where a claim without a name is to be taken over

    def install(self) -> None:
        """Put it in the place of the real things, in this process."""
        registry._LOADERS = {DATASET: (SUITE, self._load)}
        adaptkit.load_backbone = trainers.bench.plan.load_backbone = _backbone
        trainers.runs.adapter.load_named_in_file = _backbone
        if self.lease_seconds is not None:
            claims.LEASE_SECONDS = self.lease_seconds
        if self.moment is not None:
            self.moment.install()

    def install_launchers(self) -> None:
        """Let what this process launches take it along."""
        trainers.bench.main.choose_launcher = self._choose

    def _load(self, root: Path | None) -> FewShotDataset:
        return synthetic_dataset(self.images)

    def _choose(self, config: BenchConfig, todo: Plan, bench: Bench) -> Launcher:
        return _Taking(choose_launcher(config, todo, bench), self)


@functools.cache
def tiny_clip() -> FrozenCLIP:
    """A CLIP of three layers, whose weights are the same in every process."""
    return build("clip_vit")


def _backbone(*_: object, **__: object) -> FrozenCLIP:
    return tiny_clip()


def write_images(folder: Path) -> None:
    """Write the images of the data set, class folders with some of them, `own/<class>/<image>`, and a table of labels.

    In the table `several.csv` every other image has a second label.
    """
    rows = ["path,labels,split"]
    for part, items in zip(("train", "val", "test"), synthetic_dataset(folder).split, strict=True):
        for number, item in enumerate(items):
            labels = (NAMES[item.label], NAMES[item.label - 1])[: 1 + number % 2]
            rows.append(f"{item.path},{'|'.join(labels)},{part}")
    (folder / "several.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for item in synthetic_dataset(folder).split.train:
        place = folder / "own" / NAMES[item.label].replace("_", " ") / Path(item.path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(folder / item.path, place)


@dataclass(frozen=True)
class _Taking:
    """A launcher whose workers are given the tiny things before they begin."""

    launcher: Launcher
    tiny: Tiny

    def launch(self, work: Work, tell: Tell) -> None:
        self.launcher.launch(_TinyWork(work, self.tiny), tell)


@dataclass(frozen=True)
class _TinyWork:
    """Work that a worker opens with the tiny things in place."""

    work: Work
    tiny: Tiny

    @property
    def jobs(self) -> Sequence[Job]:
        return self.work.jobs

    @property
    def command(self) -> str:
        return self.work.command

    def open(self, place: Place) -> Perform:
        self.tiny.install()
        return self.work.open(place)

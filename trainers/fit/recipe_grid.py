"""A grid of settings for one method on one data set, judged on validation images: what `adaptkit tune-recipe` calls.

Every point of the grid is trained with every seed, all of them side by side where the method offers it. Test images are
never encoded, so a recipe that is chosen here may be tested on them afterwards.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

from adaptkit import method_class
from adaptkit.backbone.devices import choose_device
from adaptkit.regular_file import user_path
from datasets_fewshot import MINI_DATASETS
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench, plan
from trainers.bounds import MOST_REPLICAS
from trainers.config.load import load_bench
from trainers.config.overrides import words_as_settings
from trainers.config.settings import BenchConfig
from trainers.config.values import ConfigError
from trainers.evaluation.logits import evaluate
from trainers.fit.checks import check_words
from trainers.fit.defaults import EMBEDDED, default_shots, embedded_settings, size_settings
from trainers.protocols.few_shot import FEW_SHOT
from trainers.runs.data import Bench
from trainers.runs.identity import Run
from trainers.runs.replicas import Learnt, learn_together
from trainers.runs.sources import load_sources
from trainers.training.few_shot import TrainLog

Axis = tuple[str, tuple[str, ...]]  # KEY and its values, as they are written


@dataclass(frozen=True)
class Row:
    """One point of the grid."""

    settings: dict[str, str]  # KEY -> value as it was written
    accuracies: tuple[float | None, ...]  # percent of validation images, of each seed; None where it diverged
    loss: float | None  # of the last epoch, the mean over seeds; None where one diverged, or no epoch was trained

    @property
    def mean(self) -> float | None:
        """Mean over the seeds; None if one of them diverged, as such a rate is none to take."""
        known = [accuracy for accuracy in self.accuracies if accuracy is not None]
        return fmean(known) if len(known) == len(self.accuracies) else None

    @property
    def std(self) -> float | None:
        """Standard deviation over the seeds; None for one seed."""
        known = [accuracy for accuracy in self.accuracies if accuracy is not None]
        return stdev(known) if self.mean is not None and len(known) > 1 else None


@dataclass(frozen=True)
class RecipeResult:
    """The grid with what every point reached."""

    method: str
    dataset: str
    backbone: str
    shots: int
    seeds: tuple[int, ...]
    val_images: int  # of one seed
    rows: tuple[Row, ...]  # in the order of the grid, the last key running first
    alone: str | None  # why the trainings went one by one; None where they went side by side
    seconds: float

    @property
    def best(self) -> Row:
        """The point with the highest mean, the first of equal ones.

        Raises:
            ValueError: if every point diverged.
        """
        whole = [row for row in self.rows if row.mean is not None]
        if not whole:
            raise ValueError(f"{self.method} diverged at every point of the grid; give smaller values of OPTIM.LR")
        return max(whole, key=lambda row: row.mean or 0.0)


def tune_recipe(
    method: str,
    data: str,
    grid: Sequence[Axis],
    *,
    seeds: Sequence[int] = (1,),
    shots: int | None = None,
    backbone: str = EMBEDDED,
    pretrained: str | None = None,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    on_message: Callable[[str], None] = lambda message: None,
) -> RecipeResult:
    """Train every point of a grid with every seed, and judge it on the validation images of the seed's draw.

    Args:
        data: a folder, a table or shards of images, or the name of an embedded data set.
        grid: keys with their values; all combinations are trained.
        shots: training images per class; None for what there is, at most 16.

    Raises:
        ValueError: if a setting is wrong, the method learns nothing, or there are no validation images.
    """
    method_class(method)
    check_words(data=data, checkpoint=checkpoint)
    choose_device(device)
    points = _points(grid, len(seeds), overrides)
    fixed: dict[str, object] = {
        "PROTOCOL": FEW_SHOT.name,
        "METHODS": [method],
        "SHOTS": [shots or 1],
        "SEEDS": list(seeds),
        "DEVICE": device,
        "BACKBONE.NAME": backbone,
        "BACKBONE.PRETRAINED": pretrained,
        "BACKBONE.CHECKPOINT": None if checkpoint is None else str(checkpoint),
        **_data_settings(data),
    }
    start = time.perf_counter()
    config = load_bench(None, [*overrides, *_words(points[0])], fixed)
    (dataset,) = load_sources(config).datasets.values()
    counts = [sum(item.label == label for item in dataset.split.train) for label in range(len(dataset.classnames))]
    drawn = shots or default_shots(counts)
    fixed["SHOTS"] = [drawn]
    if backbone == EMBEDDED:
        fixed |= embedded_settings(method)
    bench = open_bench(config, Path("runs"), cache_folder() / "features")  # of which nothing is read or written
    run = _runs(load_bench(None, [*overrides, *_words(points[0])], fixed), bench)[0]
    fixed |= size_settings(run.config, len(run.task.train), run.consumes)
    runs = [_runs(load_bench(None, [*overrides, *_words(point)], fixed), bench) for point in points]
    learnt = learn_together([run for of_point in runs for run in of_point], bench)
    alone = learnt[0].run.alone
    on_message(f"{len(learnt)} trainings of {method}, " + ("side by side" if alone is None else "one by one"))
    rows = [_row(point, learnt[at * len(seeds) : (at + 1) * len(seeds)], bench) for at, point in enumerate(points)]
    return RecipeResult(
        method,
        run.config.dataset,
        bench.backbone.name,
        run.config.shots,
        tuple(seeds),
        len(run.task.val),
        tuple(rows),
        alone,
        time.perf_counter() - start,
    )


def _points(grid: Sequence[Axis], n_seeds: int, overrides: Sequence[str]) -> list[dict[str, str]]:
    """Every combination of the grid's values.

    Raises:
        ConfigError: if a key or a value is named twice, there is no key, or there are too many combinations.
    """
    keys = [key for key, _ in grid]
    if not keys:
        raise ConfigError("there is no grid; give --grid KEY=VALUE,VALUE, such as --grid OPTIM.LR=0.002,0.02")
    twice = [key for key in keys if keys.count(key) > 1] or [key for key in keys if key in words_as_settings(overrides)]
    if twice:
        raise ConfigError(f"{twice[0]} is set twice; name it once, with all of its values in one --grid")
    for key, values in grid:
        read = [words_as_settings([key, value])[key] for value in values]
        doubled = [value for place, value in enumerate(values) if read[place] in read[:place]]
        if doubled:
            raise ConfigError(f"{key} has the value {doubled[0]} twice; leave one of them out")
    points = [dict(zip(keys, values, strict=True)) for values in product(*(values for _, values in grid))]
    if len(points) * n_seeds > MOST_REPLICAS:
        raise ConfigError(
            f"{len(points)} points with {n_seeds} seeds are {len(points) * n_seeds} trainings; {MOST_REPLICAS} are "
            "the most, so give fewer values"
        )
    return points


def _words(point: Mapping[str, str]) -> list[str]:
    return [word for pair in point.items() for word in pair]


def _data_settings(data: str) -> dict[str, object]:
    """Own data, or an embedded data set where nothing of that name lies in the folder."""
    if data in MINI_DATASETS and not Path(data).exists():
        return {"DATASETS": [data]}
    if not user_path(data, "data").exists():
        raise FileNotFoundError(
            f"there is nothing at {data!r}; give a folder of class folders, a table, or an embedded data set: "
            f"{', '.join(MINI_DATASETS)}"
        )
    return {"DATA.OWN": [str(user_path(data, "data"))]}


def _runs(config: BenchConfig, bench: Bench) -> list[Run]:
    """The runs of one point, a run for each seed.

    Raises:
        ConfigError: if nothing is learnt, the runs of all seeds are one, or there are no validation images.
    """
    runs = list(plan(config, bench, fresh=True).runs)
    method, seeds = config.runs[0].method, {run.seed for run in config.runs}
    if not all(run.uses_training for run in runs) or len(runs) < len(seeds):
        raise ConfigError(f"{method} learns nothing, so there is no recipe to tune; name a method that is trained")
    for run in runs:
        if not run.task.val:
            raise ConfigError(
                f"{run.config.dataset} has no validation images, and a recipe is never chosen on test images; give "
                "data with a val part"
            )
    return runs


def _row(point: dict[str, str], learnt: Sequence[Learnt], bench: Bench) -> Row:
    losses = [one.log.losses[-1] for one in learnt if isinstance(one.log, TrainLog) and one.log.losses]
    return Row(
        point,
        tuple(_accuracy(one, bench) if isinstance(one.log, TrainLog) else None for one in learnt),
        fmean(losses) if len(losses) == len(learnt) else None,
    )


def _accuracy(learnt: Learnt, bench: Bench) -> float:
    """Percent of the validation images; a method that tunes itself does so on the same images, as in a run."""
    run, method = learnt.run, learnt.method
    validation = bench.feed(method).all_at_once(run.dataset, run.task.val, run.config)
    if "tune" in method.provides:
        method.tune(validation)
    return evaluate(method, validation.x, validation.labels, bench.precision).accuracy

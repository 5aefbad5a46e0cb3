"""Time several trainings side by side against one of them, on the embedded model and an embedded data set.

python -m benchmarks.replicas [--methods coop,kgcoop,clip_adapter] [--repeats 3]

In turn, in one process and on one thread: one training, 3 seeds, and a grid of 4 rates and 4 decays, each from stored
features of images to the accuracy on validation images, with the embedded suite's recipe. Seconds are of this process,
so that other work on the machine counts little. Besides: operations of a step, and how far what a replica has learnt is
from what its own training learns.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from adaptkit.contract.replicas import side_by_side
from benchmarks.timing import RESULTS, gflop, hardware
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench, probe
from trainers.config.load import load_bench
from trainers.config.settings import RunConfig
from trainers.evaluation.logits import evaluate
from trainers.feeding.side_by_side import SideBySide
from trainers.runs.data import Bench
from trainers.runs.identity import Run, make_run
from trainers.runs.learning import begin
from trainers.runs.replicas import Learnt, learn_together
from trainers.runs.sources import load_sources, make_task

METHODS, DATASET, SHOTS = "coop,kgcoop,tcp,clip_adapter,taskres,prolip", "openclipart", 16
SEEDS = (1, 2, 3)
RATES, DECAYS = (0.25, 0.5, 1.0, 2.0), (0.0, 5e-4, 5e-3, 5e-2)  # rates as shares of the recipe's
GOALS = {"seeds": 1.5, "grid": 5.0}


@dataclass(frozen=True)
class Timed:
    """One method: seconds of one training, of 3 seeds and of 16 points, and what they have in common."""

    method: str
    classes: int
    images: int
    steps: int
    one_seconds: float
    seeds_seconds: float
    grid_seconds: float
    seeds_ratio: float
    grid_ratio: float
    step_gflop: float
    seeds_step_gflop: float
    worst_difference: float  # of a learnt tensor of the 3 seeds from their own trainings, as a share of its norm
    same_accuracies: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "replicas.json")
    args = parser.parse_args()
    rows = []
    for method in args.methods.split(","):
        rows.append(timed(method, args.repeats))
        print(json.dumps(asdict(rows[-1])), flush=True)
    content = {
        "what": f"{len(SEEDS)} seeds and a grid of {len(RATES) * len(DECAYS)} against one training, on {DATASET} with "
        f"{SHOTS} shots and adaptkit-mini, one thread, seconds of the process's own time, medians",
        "goals": GOALS,
        "hardware": hardware(),
        "methods": [asdict(row) for row in rows],
    }
    args.out.write_text(json.dumps(content, indent=1) + "\n")


def table_section() -> str:
    """The rows of the results file, and whether what was learnt side by side is what each training learns alone."""
    content = json.loads((RESULTS / "replicas.json").read_text())
    rows, hardware = content["methods"], content["hardware"]
    lines = ["| method | steps | one, seconds | 3 seeds, as a multiple | 16 rates and decays, as a multiple |"]
    lines.append("|---" * 5 + "|")
    for row in rows:
        multiples = f"{row['seeds_ratio']:.2f}x | {row['grid_ratio']:.1f}x"
        lines.append(f"| {row['method']} | {row['steps']} | {row['one_seconds']:.2f} | {multiples} |")
    worst, same = max(row["worst_difference"] for row in rows), all(row["same_accuracies"] for row in rows)
    learnt = "to the last bit" if worst == 0 else f"but for {worst:.1e} of their norm"
    return "\n".join(
        [
            *lines,
            "",
            f"Measured on {hardware['processor']}, one thread. What the 3 seeds learnt is what their own trainings "
            f"learn, {learnt}; their accuracies are {'the same' if same else 'others'}.",
        ]
    )


def timed(method: str, repeats: int) -> Timed:
    """Time one method."""
    words = ["METHODS", f"[{method}]", "DATASETS", f"[{DATASET}]", "SEEDS", str(list(SEEDS)), "SHOTS", f"[{SHOTS}]"]
    config = load_bench(None, [*words, "DEVICE", "cpu"], {"PROTOCOL": "few_shot"})
    bench = open_bench(config, Path("runs"), cache_folder() / "features")
    torch.set_num_threads(1)
    sources = load_sources(config)

    def run_of(settings: RunConfig) -> Run:
        task = make_task(settings, sources)
        needs = probe(settings, bench, task.classnames)
        assert not isinstance(needs, str), needs
        return make_run(settings, sources.datasets[DATASET], task, needs, bench)

    seeds = [run_of(settings) for settings in config.runs]
    first = seeds[0].config
    grid = [
        run_of(replace(first, optim=replace(first.optim, lr=share * first.optim.lr, weight_decay=decay)))
        for share in RATES
        for decay in DECAYS
    ]
    judged(seeds, bench)  # stores the features
    paths = [partial(judged, runs, bench) for runs in (seeds[:1], seeds, grid)]
    one, of_seeds, of_grid = own_seconds(paths, repeats)
    together, accuracies = judged(seeds, bench)
    alone = [judged([run], bench) for run in seeds]
    worst = max(difference(found, own[0][0]) for found, own in zip(together, alone, strict=True))
    return Timed(
        method,
        len(seeds[0].task.classnames),
        len(seeds[0].task.train),
        together[0].log.steps,  # type: ignore[union-attr]
        one,
        of_seeds,
        of_grid,
        of_seeds / one,
        of_grid / one,
        step_gflop(seeds[:1], bench),
        step_gflop(seeds, bench),
        worst,
        accuracies == [own[1][0] for own in alone],
    )


def own_seconds(paths: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of the process's own time of paths that run in turn."""
    seconds: list[list[float]] = [[] for _ in paths]
    for _ in range(repeats):
        for path, times in zip(paths, seconds, strict=True):
            start = time.process_time()
            path()
            times.append(time.process_time() - start)
    return [statistics.median(times) for times in seconds]


def judged(runs: Sequence[Run], bench: Bench) -> tuple[list[Learnt], list[float]]:
    """What runs learn, and their accuracies on validation images."""
    learnt = learn_together(runs, bench)
    accuracies = []
    for one in learnt:
        validation = bench.feed(one.method).all_at_once(one.run.dataset, one.run.task.val, one.run.config)
        accuracies.append(evaluate(one.method, validation.x, validation.labels).accuracy)
    return learnt, accuracies


@torch.no_grad()
def difference(found: Learnt, own: Learnt) -> float:
    """Largest distance of a learnt tensor from another training's, as a share of its norm."""
    expected = own.method.learnt_parameters()
    return max(
        float((tensor - expected[name]).norm() / expected[name].norm())
        for name, tensor in found.method.learnt_parameters().items()
    )


def step_gflop(runs: Sequence[Run], bench: Bench) -> float:
    """Operations of the first step of runs side by side, in units of 1e9."""
    begun = [begin(run, bench) for run in runs]
    for one in begun:
        if one.support is not None:
            one.method.prepare(one.support)
    method, replicas = begun[0].method.train(), side_by_side([one.method for one in begun])
    x, labels = next(iter(SideBySide([one.batches for one in begun if one.batches is not None])))
    return gflop(lambda: method.backward_replicas(replicas, x, labels))


if __name__ == "__main__":
    main()

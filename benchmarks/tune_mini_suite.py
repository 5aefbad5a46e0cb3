"""Choose rates for the embedded suite on held-out images of base classes, never on test images or new classes.

python -m benchmarks.tune_mini_suite [--methods coop,vpt] [--groups "4 shots"] [--out FILE]

Base-to-novel is rehearsed within the base classes: half of them are learnt, and held-out images of both halves are
tested. The data sets with 16 shots and those with 4 choose apart, as papers give epochs by the number of shots. Of
emoji, one family of the training drawings is held out: a family that the training then does not see, as with the
test's. Methods of a kind share a grid of rates. The smallest rate is chosen whose harmonic mean over the two halves is
within NOISE of the best, because it changes the model least; it belongs into configs/suites/mini.yaml. Finished
trainings and rates that the result file has are kept, so the script may be stopped; take another --out to do all anew.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from datasets_fewshot import MINI_DATASETS, FewShotDataset, Item, Split, draw, select_classes
from datasets_fewshot.mini.suite import family_of
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench, probe
from trainers.config.load import load_bench
from trainers.config.settings import RunConfig
from trainers.evaluation.scoring import harmonic_mean
from trainers.labels import WRAP_SIGN
from trainers.protocols.task import EvalSet, Sources, Task, classnames_of
from trainers.runs.data import Bench
from trainers.runs.execute import execute
from trainers.runs.identity import make_run
from trainers.runs.records import read_record
from trainers.runs.sources import load_sources

HELD_OUT = "noto-v1"  # a coloured family, like the test family
MANY_SHOTS = tuple(name for name, facts in MINI_DATASETS.items() if facts["val"])
FEW_SHOTS = tuple(name for name, facts in MINI_DATASETS.items() if not facts["val"])
MANY, FEW = "16 shots", "4 shots"
GROUPS = {MANY: MANY_SHOTS, FEW: FEW_SHOTS}
NOISE = 1.0  # smaller differences, in percentage points of the mean over the data sets, do not count


@dataclass(frozen=True)
class Grid:
    """Rates to choose from, beside settings that all of them share."""

    rates: Sequence[float]
    epochs: int
    batch_size: int
    seeds: tuple[int, ...] = (1, 2, 3)
    more: Mapping[str, str] = field(default_factory=dict)
    low: Sequence[float] = ()  # further rates for 4 shots, which want smaller ones
    epochs_of_many: int | None = None  # for 16 shots, where they differ

    def for_group(self, group: str) -> "Grid":
        """The grid of a group of data sets, with rates from the smallest up."""
        if group == FEW:
            return replace(self, rates=sorted({*self.rates, *self.low}))
        return replace(self, epochs=self.epochs_of_many or self.epochs)

    def facts(self) -> dict[str, object]:
        """What trainings of the grid have in common, for the result file."""
        return {"epochs": self.epochs, "batch_size": self.batch_size, "seeds": list(self.seeds)}

    def words(self, lr: float) -> list[str]:
        """The settings of one training, as words of a command line."""
        settings = {"OPTIM.LR": lr, "OPTIM.EPOCHS": self.epochs, "OPTIM.BATCH_SIZE": self.batch_size, **self.more}
        return [word for key, value in settings.items() for word in (key, str(value))]


CONTEXT = (0.01, 0.05, 0.2, 0.8)
PAPERS = (0.002,)
DEEP = Grid((0.003, 0.01, 0.03), 5, 16, seeds=(1,), low=(0.0003, 0.001))
LAYERS = Grid((0.0005, 0.002, 0.008, 0.03), 5, 16, seeds=(1,))
STEPS = {"OPTIM.STEPS": "0", "OPTIM.LR_SCHEDULER": "cosine"}  # counted in epochs, as for the others
GRIDS: dict[str, Grid] = {  # by method, with its wrappers
    "coop": Grid(CONTEXT, 50, 128, low=PAPERS),
    "kgcoop": Grid(CONTEXT, 50, 128, low=PAPERS),
    "prograd": Grid(CONTEXT, 50, 128, low=PAPERS),
    "tcp": Grid((0.002, 0.01, 0.05), 50, 128),  # Adam beside an epsilon of 1e-3
    "cocoop": Grid(CONTEXT, 3, 8, seeds=(1,), low=PAPERS),
    "ctp_tft": Grid((0.002, 0.01, 0.05, 0.2), 3, 8, seeds=(1,)),
    "clip_adapter": Grid((0.002, *CONTEXT), 50, 128),
    "prolip": Grid((0.0001, 0.001, 0.01), 300, 256),
    "maple": replace(DEEP, rates=(0.001, *DEEP.rates), epochs_of_many=15),
    # In the paper the average's mean is 15 of 20 epochs.
    "promptsrc": replace(DEEP, rates=(*DEEP.rates, 0.1), more={"PROMPTSRC.AVERAGE_MEAN": "4.0"}),
    "vpt": DEEP,
    "ivlp": DEEP,
    "clip_lora": replace(LAYERS, more=STEPS),
    "adapter": LAYERS,
    "peft": LAYERS,
    "two_stage": LAYERS,  # as many steps as the suite says, not epochs
    "mmrl": LAYERS,
    "full": replace(LAYERS, rates=(0.00003, 0.0001, 0.0003)),
    "promptkd": Grid((0.005, 0.02), 1, 8, seeds=(1,)),  # as many steps as the suite says
    "mma": Grid((0.0005, 0.0015, 0.006, 0.024), 5, 16, seeds=(1,)),  # the paper's is 0.0015
    "fdt": Grid((0.001, 0.003, 0.01), 20, 64, seeds=(1,), low=(0.0003,)),
    "coop+fdt": Grid((0.001, 0.003, 0.01), 20, 64, seeds=(1,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=",".join(GRIDS))
    parser.add_argument("--groups", default=",".join(GROUPS), help="data sets by their number of shots")
    parser.add_argument("--runs", type=Path, default=Path("runs/tune"), help="where finished trainings are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tune_mini_suite.json"))
    args = parser.parse_args()
    result = json.loads(args.out.read_text()) if args.out.is_file() else {}
    for name in args.groups.split(","):
        datasets = GROUPS[name]
        baseline, weights = halves("zero_shot", Grid((1.0,), 1, 1, seeds=(1,)), 1.0, datasets, args.runs)
        if result.get("weights") != weights:  # choices for other weights say nothing here
            result = {"weights": weights, "groups": {}}
        group = result["groups"].setdefault(name, {"zero_shot": row(baseline), "methods": {}})
        for method in args.methods.split(","):
            known = group["methods"].get(method, {})
            group["methods"][method] = choice(method, GRIDS[method].for_group(name), name, args.runs, known)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(result, indent=1) + "\n")


def choice(method: str, grid: Grid, group: str, runs: Path, known: Mapping[str, Any]) -> dict[str, object]:
    """The rate that a method gets on the data sets of a group, and what all rates gave; known ones are kept."""
    same = known and {key: known["chosen"][key] for key in grid.facts()} == grid.facts()
    known_rows = known["grid"] if same else []
    earlier = {found["lr"]: {"mean": found["mean"], "accuracy": found["accuracy"]} for found in known_rows}
    rows: dict[float, dict[str, dict[str, Any]]] = {}
    for lr in grid.rates:
        rows[lr] = earlier.get(lr) or row(halves(method, grid, lr, GROUPS[group], runs)[0])
        print(f"{method}, {group}, rate {lr:g}: {rows[lr]['mean']}", flush=True)
    best = max(values["mean"]["H"] for values in rows.values())
    chosen = next(lr for lr in rows if rows[lr]["mean"]["H"] >= best - NOISE)
    chosen_row = {"lr": chosen, **grid.facts(), **rows[chosen]["mean"]}
    return {"chosen": chosen_row, "grid": [{"lr": lr, **values} for lr, values in rows.items()]}


def row(found: Mapping[str, tuple[float, float]]) -> dict[str, dict[str, Any]]:
    """Percent on learnt and on other classes by data set, their means over the data sets, and the means' H."""
    base, new = (round(fmean(pair[half] for pair in found.values()), 2) for half in (0, 1))
    return {"mean": {"base": base, "new": new, "H": round(harmonic_mean(base, new), 2)}, "accuracy": dict(found)}


def halves(
    method: str, grid: Grid, lr: float, datasets: Sequence[str], runs: Path
) -> tuple[dict[str, tuple[float, float]], str]:
    """Percent on learnt and on other base classes by data set, averaged over seeds; and the weights' hash."""
    method, *wrap = method.split(WRAP_SIGN)
    lists = {"METHODS": [method], "WRAP": wrap, "DATASETS": datasets, "SEEDS": grid.seeds}
    words = [word for key, values in lists.items() for word in (key, f"[{', '.join(map(str, values))}]")]
    config = load_bench(overrides=[*words, "DEVICE", "cpu", *grid.words(lr)])
    bench = open_bench(config, runs, cache_folder() / "features")
    sources = load_sources(config)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in datasets}
    for settings in config.runs:
        found[settings.dataset].append(rehearse(settings, sources, bench))
    means = {name: (fmean(base for base, _ in pairs), fmean(new for _, new in pairs)) for name, pairs in found.items()}
    return means, bench.backbone.weights_hash


def rehearse(settings: RunConfig, sources: Sources, bench: Bench) -> tuple[float, float]:
    """Train as the bench does on half of the base classes: percent on held-out images of this half and of the other."""
    dataset, held_out = parted(sources.datasets[settings.dataset])
    shots = select_classes(draw("coop", dataset.split, settings.shots, settings.seed), "base")
    drawn, never = {item.path for item in shots.train}, {item.path for item in dataset.split.test}
    seen_by_none = tuple(item for item in held_out if item.path not in drawn)
    assert not {item.path for item in seen_by_none} & never
    halves = {half: select_classes(Split(shots.train, (), seen_by_none), half) for half in ("base", "new")}
    listed = replace(dataset, split=Split(dataset.split.train, (), seen_by_none))
    tests = tuple(EvalSet(name, listed, half.test, classnames_of(half)) for name, half in halves.items())
    task = Task(halves["base"].train, (), tests[0].classnames, tests)
    needs = probe(settings, bench, task.classnames)
    assert not isinstance(needs, str), needs
    run = make_run(settings, dataset, task, needs, bench)
    try:
        record = read_record(run.folder)
    except FileNotFoundError:
        record = execute(run, bench)
    return record.score("base").accuracy, record.score("new").accuracy


def parted(dataset: FewShotDataset) -> tuple[FewShotDataset, tuple[Item, ...]]:
    """The data set to learn from, and images of its base classes to choose by, some of which may be drawn from it.

    Of emoji, a family of the training drawings is held out; elsewhere these are the validation images and, where
    training and test images come from the same sources, the training images.
    """
    train, val, test = dataset.split
    kept = tuple(item for item in train if family_of(item) != HELD_OUT)
    families = MINI_DATASETS[dataset.name]["families"]
    if len(kept) < len(train):
        candidates = tuple(item for item in train if family_of(item) == HELD_OUT)
    else:
        candidates = (*val, *train) if families["train"] == families["test"] else val
    base = select_classes(Split(train, (), candidates), "base").test
    return replace(dataset, split=Split(kept, (), test)), tuple(base)


if __name__ == "__main__":
    main()

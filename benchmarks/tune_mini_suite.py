"""Choose rates and epochs of the embedded suite's trainings on validation images of base classes; never on test images.

python -m benchmarks.tune_mini_suite [--methods coop,vpt] [--out benchmarks/results/tune_mini_suite.json]

Every method learns the base classes of the data sets that have validation images, in base-to-novel's way, and is tested
on all validation images of these classes. Trainings that are finished are reused, so the script may be stopped.
The best choice of each method belongs into configs/suites/mini.yaml.
"""

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from datasets_fewshot import MINI_DATASETS, Split, select_classes
from datasets_fewshot.cache_folder import cache_folder
from trainers.config import load_bench
from trainers.matrix import open_bench
from trainers.protocols import EvalSet, Task
from trainers.records import ResultRecord, read_record
from trainers.run import Needs, execute, make_run
from trainers.run_data import Bench
from trainers.settings import WRAP_SIGN, RunConfig
from trainers.sources import Sources, load_sources

DATASETS = [name for name, facts in MINI_DATASETS.items() if facts["val"]]
SEEDS = [1, 2]
GRIDS: dict[str, tuple[tuple[float, ...], tuple[int, ...]]] = {  # method, with its wrappers -> rates, epochs
    "coop": ((0.01, 0.05, 0.2), (50,)),
    "kgcoop": ((0.05, 0.2, 0.8), (50,)),
    "prograd": ((0.05, 0.2, 0.8), (20,)),
    "cocoop": ((0.01, 0.05, 0.2), (3,)),
    "clip_adapter": ((0.05, 0.2, 0.8), (50,)),
    "vpt": ((0.01, 0.03, 0.1), (1,)),
    "ivlp": ((0.01, 0.03, 0.1), (1,)),
    "maple": ((0.01, 0.03, 0.1), (1,)),
    "promptsrc": ((0.01, 0.03, 0.1), (1,)),
    "clip_lora": ((0.001, 0.004, 0.016, 0.064), (1,)),
    "adapter": ((0.001, 0.004, 0.016, 0.064), (1,)),
    "peft": ((0.001, 0.004, 0.016, 0.064), (1,)),
    "fdt": ((0.001, 0.003, 0.01), (20,)),
    "coop+fdt": ((0.001, 0.003, 0.01), (20,)),
    "clip_adapter+fdt": ((0.001, 0.003, 0.01), (20,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=",".join(GRIDS))
    parser.add_argument("--runs", type=Path, default=Path("runs/tune"), help="where finished trainings are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tune_mini_suite.json"))
    args = parser.parse_args()
    methods = args.methods.split(",")
    baseline, weights = accuracies("zero_shot", {}, args.runs)
    result = json.loads(args.out.read_text()) if args.out.is_file() else {}
    if result.get("weights") != weights:  # another model's choices say nothing here
        result = {"weights": weights, "zero_shot": baseline, "methods": {}}
    for method in methods:
        rates, epochs = GRIDS[method]
        rows = []
        for lr, count in itertools.product(rates, epochs):
            by_dataset, same = accuracies(method, {"OPTIM.LR": lr, "OPTIM.EPOCHS": count}, args.runs)
            if same != weights:
                raise SystemExit("the embedded model changed meanwhile; start again")
            rows.append({"lr": lr, "epochs": count, "mean": fmean(by_dataset.values()), "accuracy": by_dataset})
            print(f"{method} lr {lr:g} epochs {count}: {rows[-1]['mean']:.2f}", flush=True)
        best = max(rows, key=lambda row: row["mean"])
        result["methods"][method] = {"best": {key: best[key] for key in ("lr", "epochs", "mean")}, "grid": rows}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        print(
            f"{method}: best lr {best['lr']:g}, {best['epochs']} epochs, {best['mean']:.2f} % (zero-shot "
            f"{fmean(baseline.values()):.2f} %)",
            flush=True,
        )


def accuracies(method: str, overrides: dict[str, float | int], runs: Path) -> tuple[dict[str, float], str]:
    """Percent of the validation images of base classes, by data set, the mean over seeds; and the weights' hash."""
    method, *wrap = method.split(WRAP_SIGN)
    words = [
        "METHODS",
        f"[{method}]",
        "WRAP",
        f"[{', '.join(wrap)}]",
        "DATASETS",
        f"[{', '.join(DATASETS)}]",
        "SEEDS",
        str(SEEDS),
        "DEVICE",
        "cpu",
    ]
    words += [word for key, value in overrides.items() for word in (key, str(value))]
    config = load_bench(overrides=words)
    bench = open_bench(config, runs, cache_folder() / "features")
    sources = load_sources(config)
    found: dict[str, list[float]] = {name: [] for name in DATASETS}
    for settings in config.runs:
        found[settings.dataset].append(validate(settings, sources, bench).score("val").accuracy)
    return {name: fmean(values) for name, values in found.items()}, bench.backbone.weights_hash


def validate(settings: RunConfig, sources: Sources, bench: Bench) -> ResultRecord:
    """Train as the bench does, and test on the validation images of the base classes."""
    dataset, task = sources.datasets[settings.dataset], sources.task(settings)
    items = select_classes(dataset.split, "base").val
    unseen = replace(dataset, split=Split(dataset.split.train, (), dataset.split.val))  # its test list: all of val
    assert not {item.path for item in items} & {item.path for item in dataset.split.test}
    test = EvalSet("val", unseen, items, task.classnames)
    run = make_run(
        settings,
        dataset,
        Task(task.train, (), task.classnames, (test,)),
        Needs(settings.label != "zero_shot", False),
        bench,
    )
    try:
        return read_record(run.folder)
    except FileNotFoundError:
        return execute(run, bench)


if __name__ == "__main__":
    main()

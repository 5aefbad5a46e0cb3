"""Choose rates and epochs for the embedded suite on validation images of base classes, never on test images.

python -m benchmarks.tune_mini_suite [--methods coop,vpt] [--out benchmarks/results/tune_mini_suite.json]

Every method learns base classes as in base-to-novel and is tested on validation images of these classes, all of them if
a data set has some. Two sets of emoji have none, so one of the four training drawings is held out there: a family that
the training then does not see, as with the test's. Methods of a kind share a grid of rates. The smallest rate within
NOISE of the best is chosen, because it changes the model least; it belongs into configs/suites/mini.yaml. Finished
trainings are reused, so the script may be stopped.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from datasets_fewshot import MINI_DATASETS, FewShotDataset, Split, select_classes
from datasets_fewshot.mini.suite import family_of
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench, probe
from trainers.config.load import load_bench
from trainers.config.settings import RunConfig
from trainers.labels import WRAP_SIGN
from trainers.protocols.base_to_novel import base_to_novel
from trainers.protocols.task import EvalSet, Sources, Task
from trainers.runs.data import Bench
from trainers.runs.execute import execute
from trainers.runs.identity import make_run
from trainers.runs.records import ResultRecord, read_record
from trainers.runs.sources import load_sources

HELD_OUT = "noto-v1"  # a coloured family, like the test family
WITH_VALIDATION = [name for name, facts in MINI_DATASETS.items() if facts["val"]]
DATASETS = [*WITH_VALIDATION, "emoji_animals", "emoji_food"]
SEEDS = [1]
NOISE = 1.0  # smaller differences, in percentage points of the mean over the data sets, do not count
CONTEXT, DEEP, LAYERS = (0.01, 0.05, 0.2, 0.8), (0.003, 0.01, 0.03, 0.1), (0.001, 0.004, 0.016)
CODES, MATRIX = (0.001, 0.003, 0.01), (0.0001, 0.001, 0.01)
SHIFTS = (0.002, 0.01, 0.05, 0.2)
COUPLED = (0.0015, 0.006, 0.024, 0.1, 0.4)  # from the paper's rate up
ADAM = (0.002, 0.01, 0.05)  # beside an epsilon of 1e-3
WHOLE = (0.00003, 0.0001, 0.0003)  # of all weights
STUDENT = (0.005, 0.02)
GRIDS: dict[str, tuple[tuple[float, ...], int]] = {  # method, with its wrappers -> (rates, epochs)
    "coop": (CONTEXT, 50),
    "kgcoop": (CONTEXT, 50),
    "prograd": (CONTEXT, 20),
    "tcp": (ADAM, 50),
    "cocoop": (CONTEXT, 3),
    "ctp_tft": (SHIFTS, 3),
    "clip_adapter": (CONTEXT, 50),
    "maple": (DEEP, 1),
    "promptsrc": (DEEP, 1),
    "vpt": (DEEP, 1),
    "ivlp": (DEEP, 1),
    "clip_lora": (LAYERS, 1),
    "adapter": (LAYERS, 1),
    "peft": (LAYERS, 1),
    "two_stage": (LAYERS, 1),  # as many steps as the suite says, not epochs
    "prolip": (MATRIX, 300),
    "mmrl": (LAYERS, 1),
    "full": (WHOLE, 1),
    "promptkd": (STUDENT, 1),  # as many steps as the suite says
    "mma": (COUPLED, 1),
    "fdt": (CODES, 20),
    "coop+fdt": (CODES, 20),
    "clip_adapter+fdt": (CODES, 20),
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
    if result.get("weights") != weights:  # choices for other weights say nothing here
        result = {"weights": weights, "zero_shot": baseline, "methods": {}}
    for method in methods:
        rates, epochs = GRIDS[method]
        means: dict[float, float] = {}
        rows: list[dict[str, object]] = []
        for lr in rates:
            by_dataset, same = accuracies(method, {"OPTIM.LR": lr, "OPTIM.EPOCHS": epochs}, args.runs)
            if same != weights:
                raise SystemExit("the embedded model changed meanwhile; start again")
            means[lr] = fmean(by_dataset.values())
            rows.append({"lr": lr, "epochs": epochs, "mean": means[lr], "accuracy": by_dataset})
            print(f"{method} lr {lr:g} epochs {epochs}: {means[lr]:.2f}", flush=True)
        best = max(means.values())
        chosen = next(lr for lr in rates if means[lr] >= best - NOISE)
        result["methods"][method] = {"chosen": {"lr": chosen, "epochs": epochs, "mean": means[chosen]}, "grid": rows}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        print(
            f"{method}: lr {chosen:g}, {epochs} epochs, {means[chosen]:.2f} % (best {best:.2f} %, zero-shot "
            f"{fmean(baseline.values()):.2f} %)",
            flush=True,
        )


def accuracies(method: str, overrides: dict[str, float | int], runs: Path) -> tuple[dict[str, float], str]:
    """Percent of correct validation images of base classes, by data set, averaged over seeds; and the weights' hash."""
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
    dataset = with_validation(sources.datasets[settings.dataset])
    task = base_to_novel(dataset, settings.shots, settings.seed)
    items = select_classes(dataset.split, "base").val
    unseen = replace(dataset, split=Split(dataset.split.train, (), dataset.split.val))  # its test list is all of val
    assert not {item.path for item in items} & {item.path for item in dataset.split.test}
    test = EvalSet("val", unseen, items, task.classnames)
    needs = probe(settings, bench, task.classnames)
    assert not isinstance(needs, str), needs
    run = make_run(settings, dataset, Task(task.train, (), task.classnames, (test,)), needs, bench)
    try:
        return read_record(run.folder)
    except FileNotFoundError:
        return execute(run, bench)


def with_validation(dataset: FewShotDataset) -> FewShotDataset:
    """Return the data set; if it has no validation images, hold out one family of its training drawings as such."""
    train, val, test = dataset.split
    if val:
        return dataset
    held_out = tuple(item for item in train if family_of(item) == HELD_OUT)
    return replace(dataset, split=Split(tuple(item for item in train if item not in held_out), held_out, test))


if __name__ == "__main__":
    main()

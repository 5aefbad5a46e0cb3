"""Choose FDT's weight and rate on the embedded suite without a test image or a new class.

python -m benchmarks.tune_fdt [--methods zero_shot,clip_adapter,coop] [--out benchmarks/results/tune_fdt.json]

Accuracy on base classes alone would reward a model that fits them best and forgets the rest. So base-to-novel is
rehearsed within the base classes: FDT learns the first half of them, and is tested on the validation images of both
halves, each among its own names. The harmonic mean decides. Finished trainings are reused.
"""

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from adaptkit.artefacts.atomic_file import write_text
from benchmarks.tune_mini_suite import MANY_SHOTS
from datasets_fewshot import FewShotDataset, Item, Split, select_classes
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench, probe
from trainers.config.load import load_bench
from trainers.config.settings import RunConfig
from trainers.evaluation.scoring import harmonic_mean
from trainers.protocols.task import EvalSet, Sources, Task
from trainers.runs.data import Bench
from trainers.runs.execute import execute
from trainers.runs.identity import make_run
from trainers.runs.records import read_record
from trainers.runs.sources import load_sources, make_task

SEEDS = [1, 2]
WEIGHTS, RATES = (0.0, 0.25, 0.5, 1.0), (0.001, 0.003)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="zero_shot,clip_adapter,coop")
    parser.add_argument("--runs", type=Path, default=Path("runs/tune_fdt"), help="where finished trainings are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tune_fdt.json"))
    args = parser.parse_args()
    result: dict[str, object] = {}
    for method in args.methods.split(","):
        rows = []
        for weight, rate in itertools.product(WEIGHTS, RATES):
            scores = harmonic_means(method, weight, rate, args.runs)
            rows.append({"weight": weight, "lr": rate, "mean": fmean(scores.values()), "h": scores})
            print(f"{method}+fdt weight {weight:g} lr {rate:g}: {rows[-1]['mean']:.2f}", flush=True)
        result[method] = rows
        write_text(args.out, json.dumps(result, indent=1) + "\n")


def harmonic_means(method: str, weight: float, rate: float, runs: Path) -> dict[str, float]:
    """Harmonic means in percent by data set, averaged over seeds."""
    datasets = f"[{', '.join(MANY_SHOTS)}]"
    words = ["METHODS", f"[{method}]", "WRAP", "[fdt]", "DATASETS", datasets, "SEEDS", str(SEEDS)]
    config = load_bench(overrides=[*words, "FDT.WEIGHT", str(weight), "OPTIM.LR", str(rate), "DEVICE", "cpu"])
    bench, sources = open_bench(config, runs, cache_folder() / "features"), load_sources(config)
    found: dict[str, list[float]] = {name: [] for name in MANY_SHOTS}
    for settings in config.runs:
        found[settings.dataset].append(halves(settings, sources, bench))
    return {name: fmean(values) for name, values in found.items()}


def halves(settings: RunConfig, sources: Sources, bench: Bench) -> float:
    """The harmonic mean over both halves of the base classes, after learning the first."""
    dataset, task = sources.datasets[settings.dataset], make_task(settings, sources)
    half, names = (len(task.classnames) + 1) // 2, task.classnames
    items = select_classes(dataset.split, "base").val
    unseen = replace(dataset, split=Split(dataset.split.train, (), dataset.split.val))  # its test list is all of val
    assert not {item.path for item in items} & {item.path for item in dataset.split.test}
    learnt, other = (item_part(items, part) for part in (range(half), range(half, len(names))))
    tests = tuple(_test(*each, unseen) for each in (("base", learnt, names[:half]), ("new", other, names[half:])))
    train = tuple(item for item in task.train if item.label < half)
    needs = probe(settings, bench, names[:half])
    assert not isinstance(needs, str), needs
    run = make_run(settings, dataset, Task(train, (), names[:half], tests), needs, bench)
    try:
        record = read_record(run.folder)
    except FileNotFoundError:
        record = execute(run, bench)
    return harmonic_mean(*(record.score(name).accuracy for name in ("base", "new")))


def item_part(items: tuple[Item, ...], labels: range) -> tuple[Item, ...]:
    """The items with these labels, relabelled from 0."""
    return tuple(replace(item, label=item.label - labels.start) for item in items if item.label in labels)


def _test(name: str, items: tuple[Item, ...], names: tuple[str, ...], dataset: FewShotDataset) -> EvalSet:
    return EvalSet(name, dataset, items, names)


if __name__ == "__main__":
    main()

"""Choose start, distillation, rate and steps of DAS on the embedded suite, on validation images only.

python -m benchmarks.tune_das [--runs runs/tune] [--out benchmarks/results/tune_das.json]

The model is zero-shot CLIP with blocks 1 and 4 of the image tower skipped, or none; the text tower is unchanged, and
there is one seed. As DAS is to serve new classes, base classes stand in for them: half of a data set's base classes
teach, and validation images of either half are classified among the names of that half. Data sets of emoji have no
validation images, so one of the drawing families is held out. The choice belongs into configs/suites/mini.yaml. Rows
already in the file are kept.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from adaptkit.backbone.loading import MINI
from benchmarks.tune_mini_suite import HELD_OUT
from datasets_fewshot import FewShotDataset, Split, draw, select_classes
from datasets_fewshot.mini.suite import family_of
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench, probe
from trainers.config.load import load_bench
from trainers.config.settings import RunConfig
from trainers.evaluation.scoring import harmonic_mean
from trainers.protocols.task import EvalSet, Sources, Task, classnames_of
from trainers.runs.data import Bench
from trainers.runs.execute import execute
from trainers.runs.identity import make_run
from trainers.runs.records import read_record
from trainers.runs.sources import load_sources

DATASETS = ("emoji_animals", "emoji_food", "icons", "openclipart")
PAIR = "[1, 4]"  # the same everywhere, to compare settings and not blocks
GRID = (  # (start, weight of the drift, rate, steps, augmentation, skipped blocks)
    ("zero", 0.0, 0.008, 320, "none", 2),
    ("fitted", 0.0, 0.001, 120, "none", 2),
    ("fitted", 0.0, 0.002, 320, "exact", 2),
    ("fitted", 10.0, 0.002, 320, "exact", 2),
    ("fitted", 50.0, 0.002, 320, "exact", 2),
    ("fitted", 50.0, 0.004, 320, "exact", 2),
    ("fitted", 50.0, 0.002, 200, "exact", 2),
    ("fitted", 50.0, 0.002, 1000, "exact", 2),
    ("fitted", 200.0, 0.002, 1000, "exact", 2),
    ("distilled", 50.0, 0.0005, 500, "exact", 2),
    ("distilled", 50.0, 0.001, 500, "exact", 2),
    ("distilled", 50.0, 0.002, 1000, "exact", 2),
    ("fitted", 0.0, 0.001, 120, "none", 0),
    ("fitted", 50.0, 0.002, 200, "exact", 0),
    ("fitted", 50.0, 0.002, 1000, "exact", 0),
    ("fitted", 200.0, 0.002, 1000, "exact", 0),
    ("fitted", 50.0, 0.001, 500, "exact", 0),
)
KEYS = ("init", "distill", "lr", "steps", "augment", "skipped")
SETTINGS = ("DAS.INIT", "DAS.DISTILL", "OPTIM.LR", "OPTIM.STEPS", "VIEWS.AUGMENT", "DAS.SKIP_VISION")
FIXED = ("WRAP", "[das]", "METHODS", "[zero_shot]", "DATASETS", f"[{', '.join(DATASETS)}]", "SEEDS", "[1]")
VISION = ("DEVICE", "cpu", "DAS.ENCODER", "vision", "DAS.SKIP_TEXT", "0", "DAS.SELECT", "given")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/tune"), help="where finished trainings are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tune_das.json"))
    args = parser.parse_args()
    kept = json.loads(args.out.read_text())["rows"] if args.out.is_file() else []
    rows = []
    for cell in GRID:
        row = next((row for row in kept if tuple(row.get(key) for key in KEYS) == cell), None)
        if row is None:
            words = [word for key, value in zip(SETTINGS, cell, strict=True) for word in (key, str(value))]
            if cell[0] == "distilled":
                words += ["DAS.STAND_INS", MINI]
            found = harmonic_means([*words, "DAS.VISION_BLOCKS", PAIR if cell[-1] else "[]"], args.runs)
            row = {**dict(zip(KEYS, cell, strict=True)), "mean": fmean(found.values()), **found}
        rows.append(row)
        print(row, flush=True)
        args.out.write_text(json.dumps({"datasets": DATASETS, "seed": 1, "rows": rows}, indent=1) + "\n")


def harmonic_means(overrides: list[str], runs: Path) -> dict[str, float]:
    """Harmonic means of the accuracies on validation images of taught and untaught base classes, in percent."""
    config = load_bench(overrides=[*FIXED, *VISION, *overrides])
    bench = open_bench(config, runs, cache_folder() / "features")
    sources = load_sources(config)
    return {run.dataset: rehearse(run, sources, bench) for run in config.runs}


def rehearse(settings: RunConfig, sources: Sources, bench: Bench) -> float:
    """Rehearse base-to-novel within the base classes and return the harmonic mean."""
    dataset = with_validation(sources.datasets[settings.dataset])
    every = select_classes(dataset.split, "base")
    shots = select_classes(draw("coop", dataset.split, settings.shots, settings.seed), "base")
    halves = {half: select_classes(Split(shots.train, every.val, ()), half) for half in ("base", "new")}
    unseen = replace(dataset, split=Split(dataset.split.train, (), dataset.split.val))  # its test list is all of val
    tests = tuple(EvalSet(name, unseen, half.val, classnames_of(half)) for name, half in halves.items())
    assert not {item.path for test in tests for item in test.items} & {item.path for item in dataset.split.test}
    task = Task(halves["base"].train, (), classnames_of(halves["base"]), tests)
    needs = probe(settings, bench, task.classnames)
    assert not isinstance(needs, str), needs
    run = make_run(settings, dataset, task, needs, bench)
    try:
        record = read_record(run.folder)
    except FileNotFoundError:
        record = execute(run, bench)
    return harmonic_mean(record.score("base").accuracy, record.score("new").accuracy)


def with_validation(dataset: FewShotDataset) -> FewShotDataset:
    """Return the data set; if it has no validation images, hold out one family of its training drawings as such."""
    train, val, test = dataset.split
    if val:
        return dataset
    held_out = tuple(item for item in train if family_of(item) == HELD_OUT)
    return replace(dataset, split=Split(tuple(item for item in train if item not in held_out), held_out, test))


if __name__ == "__main__":
    main()

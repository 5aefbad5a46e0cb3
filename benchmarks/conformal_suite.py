"""Hold the promise of prediction sets against test images of the embedded suite, for docs/how_sure.md.

    python -m benchmarks.conformal_suite [--runs runs/conformal]
    python -m benchmarks.readme

Cheap methods learn from few shots and are calibrated on folds of these, as `adaptkit train --calibrate` does, and are
tested on images that took part in nothing. Three divisions of the images differ in what the promise rests on:

    own      all images of a set in one folder, which adaptkit divides at random: training and test images are alike,
             but shots are as many of each class and test images are not
    suite    the suite's own division: emoji and icons are tested on drawing families that training never saw, so that
             held-out training images say little of test images, and no coverage is promised
    halves   the suite's division, calibrated on a random half of the test images and tested on the other, twenty times:
             the images are exchangeable, and the final method has seen none of them

The promised coverage is 90 %. A row's error is that of its test images and of its held-out images together.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from adaptkit import AdaptedCLIP
from adaptkit.artefacts.atomic_file import write_text
from adaptkit.calibration.calibration import Calibration, fit_calibration
from benchmarks.timing import RESULTS, hardware
from datasets_fewshot import FewShotDataset
from datasets_fewshot.own.auto_split import auto_split
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.evaluation.certainty import Certainty, judge_certainty
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import Floats, Ints
from trainers.fit.calibrating import calibrate_method
from trainers.fit.held_out import held_out
from trainers.protocols.few_shot import few_shot
from trainers.runs.adapter import load_run
from trainers.runs.data import Bench
from trainers.runs.execute import execute
from trainers.runs.identity import Needs, Run, make_run
from trainers.runs.records import read_record

FILE = RESULTS / "conformal_suite.json"
DATASETS = ("fashion_mnist", "openclipart", "icons", "emoji_animals")
METHODS = ("zero_shot", "tip_adapter", "lp_plus_plus", "clip_adapter", "coop")
SEEDS = (1, 2)
SHOTS = 16
COVERAGE = 0.9
HALVES = 20
FIXED = ("PROTOCOL", "few_shot", "SHOTS", f"[{SHOTS}]", "DEVICE", "cpu", "METHODS", f"[{', '.join(METHODS)}]")
QUICK = {"coop": 40}  # steps of methods that would take minutes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/conformal"), help="where finished trainings are kept")
    runs = parser.parse_args().runs
    started, rows = time.process_time(), list[dict]()
    for name in DATASETS:
        config = load_bench(overrides=[*FIXED, "DATASETS", f"[{name}]", "SEEDS", f"[{', '.join(map(str, SEEDS))}]"])
        bench = open_bench(config, runs, cache_folder() / "features")
        for run in plan(config, bench).runs:
            for seed in SEEDS if run.config.method == "zero_shot" else (run.config.seed,):
                for row in rows_of(run, seed, bench, runs):
                    rows.append(row)
                    lac = row["sets"][0]
                    print(
                        f"{row['division']} {name} {row['method']} {seed}: {lac['covered']:.3f} "
                        f"+- {lac['standard_error']:.3f}, {lac['mean_size']:.2f} classes",
                        flush=True,
                    )
        write(rows, round(time.process_time() - started))  # what is finished is kept


def write(rows: list[dict], seconds: int) -> None:
    """Write the rows so far."""
    content = {
        "coverage": COVERAGE,
        "shots": SHOTS,
        "seeds": list(SEEDS),
        "halves": HALVES,
        "steps": QUICK,
        "processor_seconds": seconds,
        "hardware": hardware() | {"cores": os.cpu_count() or 1},
        "rows": rows,
    }
    write_text(FILE, json.dumps(content, indent=1) + "\n")


def rows_of(run: Run, seed: int, bench: Bench, out: Path) -> Iterator[dict]:
    """One row for each division of the images."""
    mixed = in_one_folder(run.dataset, seed)
    for division, dataset in (("own", mixed), ("suite", run.dataset)):
        part = trained(run, dataset, seed, bench)
        method, _ = load_run(part.folder, bench.backbone)
        (test,) = part.task.tests
        logits, labels = predict(method, bench.feed(method).test(test), bench.precision)
        calibrate_method(method, held_out(part, bench, method, out / "folds", lambda message: None), None)
        assert method.calibration is not None
        found = judge_certainty(method.calibration, logits, labels, method.classes, COVERAGE)
        yield row(part, division, seed, method.calibration, found)
        if division == "suite":
            yield halves_row(part, seed, method, logits, labels)


def in_one_folder(dataset: FewShotDataset, seed: int) -> FewShotDataset:
    """The same images, divided as adaptkit divides a folder."""
    items = [item for part in dataset.split for item in part]
    return replace(dataset, name=f"{dataset.name}_own", split=auto_split(items, seed))


def trained(run: Run, dataset: FewShotDataset, seed: int, bench: Bench) -> Run:
    """The run on these images, trained if it has not been."""
    steps = QUICK.get(run.config.method, run.config.optim.steps)
    config = replace(run.config, seed=seed, dataset=dataset.name, optim=replace(run.config.optim, steps=steps))
    needs = Needs(run.uses_training, run.consumes, run.sees)
    part = make_run(config, dataset, few_shot(dataset, SHOTS, seed), needs, bench)
    try:
        read_record(part.folder)
    except FileNotFoundError:
        execute(part, bench)
    return part


def row(run: Run, division: str, seed: int, calibration: Calibration, found: Certainty) -> dict:
    unknown = calibration.unknown
    return {
        "division": division,
        "dataset": run.config.dataset.removesuffix("_own"),
        "method": run.config.method,
        "seed": seed,
        "classes": len(calibration.classnames),
        "held_out_images": len(calibration),
        "test_images": found.before.total,
        "accuracy": found.before.accuracy,
        "temperature": calibration.temperature,
        "ece": {"before": found.before.ece, "after": found.after.ece},
        "unknown_auroc": None if unknown is None else unknown.auroc,
        "sets": [asdict(one) for one in found.sets],
    }


def halves_row(run: Run, seed: int, method: AdaptedCLIP, logits: Floats, labels: Ints) -> dict:
    """Means over random halves of the test images; the error is that of the mean, over halves."""
    rng, judged, last = np.random.default_rng(seed), [], None
    for _ in range(HALVES):
        order = rng.permutation(len(labels))
        first, second = np.array_split(order, 2)
        last = fit_calibration(torch.from_numpy(logits[first]), torch.from_numpy(labels[first]), method.classes, "half")
        judged.append(judge_certainty(last, logits[second], labels[second], method.classes, COVERAGE))
    assert last is not None
    mean = row(run, "halves", seed, last, judged[-1])
    mean["ece"] = {
        "before": fmean(one.before.ece for one in judged),
        "after": fmean(one.after.ece for one in judged),
    }
    for place, one in enumerate(mean["sets"]):
        every = [found.sets[place] for found in judged]
        for name in ("covered", "mean_size", "empty", "least_covered"):
            one[name] = fmean(getattr(each, name) for each in every)
        one["standard_error"] = float(np.std([each.covered for each in every], ddof=1)) / math.sqrt(HALVES)
    return mean


if __name__ == "__main__":
    main()

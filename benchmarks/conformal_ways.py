"""Which held-out images keep the promise where trainings differ, for docs/how_sure.md.

    python -m benchmarks.conformal_ways [--runs runs/conformal]
    python -m benchmarks.readme

CoOp with the 40 steps of `benchmarks.conformal_suite` ends somewhere else in every training. It learns from few shots
of a folder that adaptkit has divided at random, and LAC sets with a promised coverage of 90 % are calibrated five ways:

    folds        five folds of the training images, as `adaptkit train --calibrate` does
    temperature  the same with a temperature for each fold, before its scores join the others; their geometric mean for
                 the method itself
    ten          ten folds
    careful      five folds, with the largest threshold that one of them asks for
    val          the val part, which no training has seen, as `adaptkit calibrate --part val` does
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, geometric_mean

import numpy as np
import torch

from adaptkit.artefacts.atomic_file import write_text
from adaptkit.calibration.conformal import conformal_threshold
from adaptkit.calibration.temperature import fit_temperature
from benchmarks.conformal_suite import COVERAGE, FIXED, QUICK, SHOTS, in_one_folder, trained
from benchmarks.timing import RESULTS, hardware
from datasets_fewshot import Item
from datasets_fewshot.splits.content_marks import content_marks
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.evaluation.logits import predict
from trainers.evaluation.scoring import Floats, Ints
from trainers.fit.folds import FOLDS
from trainers.fit.held_out import HeldOut, folds_of, held_out
from trainers.protocols.task import EvalSet
from trainers.runs.adapter import load_run
from trainers.runs.data import Bench
from trainers.runs.identity import Run

FILE = RESULTS / "conformal_ways.json"
METHOD = "coop"
DATASETS = ("fashion_mnist", "openclipart")
SEEDS = (1, 2, 3, 4, 5, 6)
Answers = tuple[Floats, Ints]  # logits (N, C) and labels (N,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/conformal"), help="where finished trainings are kept")
    runs = parser.parse_args().runs
    started, rows = time.process_time(), list[dict]()
    for name in DATASETS:
        config = load_bench(overrides=[*FIXED, "METHODS", f"[{METHOD}]", "DATASETS", f"[{name}]"])
        bench = open_bench(config, runs, cache_folder() / "features")
        run = plan(config, bench).runs[-1]
        for seed in SEEDS:
            for row in rows_of(run, seed, bench, runs / "folds"):
                rows.append({"dataset": name, "seed": seed, **row})
                print(rows[-1], flush=True)
    content = {
        "coverage": COVERAGE,
        "method": METHOD,
        "steps": QUICK[METHOD],
        "shots": SHOTS,
        "processor_seconds": round(time.process_time() - started),
        "hardware": hardware() | {"cores": os.cpu_count() or 1},
        "rows": rows,
    }
    write_text(FILE, json.dumps(content, indent=1) + "\n")


def rows_of(run: Run, seed: int, bench: Bench, out: Path) -> Iterator[dict]:
    """One training, calibrated in each way and held against its test images."""
    part = trained(run, in_one_folder(run.dataset, seed), seed, bench)
    method, _ = load_run(part.folder, bench.backbone)

    def answers(items: Sequence[Item]) -> Answers:
        images = EvalSet("images", part.dataset, tuple(items), part.task.classnames)
        return predict(method, bench.feed(method).test(images), bench.precision)

    five, ten = (
        by_fold(part, held_out(part, bench, method, out, lambda message: None, most), most) for most in (FOLDS, 10)
    )
    val = answers(part.dataset.split.val)
    test = answers(part.task.tests[0].items)
    for way, parts in (("folds", [joined(five)]), ("temperature", five), ("ten", [joined(ten)]), ("val", [val])):
        temperatures = [temperature(one) for one in parts]
        scores = torch.cat([own_scores(one, t) for one, t in zip(parts, temperatures, strict=True)])
        yield judged(way, test, geometric_mean(temperatures), conformal_threshold(scores, COVERAGE), len(scores))
    common = temperature(joined(five))
    most = max(conformal_threshold(own_scores(one, common), COVERAGE) for one in five)
    yield judged("careful", test, common, most, len(joined(five)[1]))


def by_fold(run: Run, found: HeldOut, most: int) -> list[Answers]:
    """Held-out answers, fold by fold."""
    items = tuple(dict.fromkeys(run.task.train))
    folds = folds_of(items, content_marks(run.dataset, items), run.config.seed, most)
    ends = np.cumsum([len(held) for held in folds.held])[:-1]
    return list(zip(np.split(found.logits, ends), np.split(found.labels, ends), strict=True))


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers of all folds."""
    logits, labels = zip(*parts, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def temperature(found: Answers) -> float:
    """The temperature that fits the answers."""
    return fit_temperature(torch.from_numpy(found[0]), torch.from_numpy(found[1]))


def own_scores(found: Answers, temperature: float) -> torch.Tensor:
    """LAC scores (N,) of the right classes."""
    logits, labels = map(torch.from_numpy, found)
    return 1 - (logits.double() / temperature).softmax(dim=1)[torch.arange(len(labels)), labels]


def judged(way: str, test: Answers, temperature: float, threshold: float, held: int) -> dict:
    """How often the sets of test images hold the right class, and how large they are.

    The standard error is that of the test images and of the held-out images together, as of a promise that is kept.
    """
    scores = 1 - (torch.from_numpy(test[0]).double() / temperature).softmax(dim=1)
    variance = COVERAGE * (1 - COVERAGE)
    return {
        "way": way,
        "held_out_images": held,
        "covered": fmean((own_scores(test, temperature) <= threshold).double().tolist()),
        "standard_error": math.sqrt(variance / len(scores) + variance / held),
        "mean_size": fmean((scores <= threshold).sum(dim=1).tolist()),
    }


if __name__ == "__main__":
    main()

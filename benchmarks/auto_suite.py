r"""How well `adaptkit train auto` chooses, on the embedded suite as somebody's own data.

python -m benchmarks.auto_suite --work FOLDER [--sets icons,openclipart] [--shots 1,4,16] [--seeds 1,2,3] \
    [--budget 10min] [--candidates gda,taskres]

Each set is exported to a folder with its shots as train part and its test images as test part, searched with the
budget, and every candidate is trained alone on all shots and tested, too. The best single method in hindsight is the
candidate with the highest mean test accuracy over all cases. A case that is finished is a file in --work; stopped, the
same command goes on from there, and every finished case is in benchmarks/results/auto_suite.json at once.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

import adaptkit
from adaptkit.artefacts.atomic_file import Json, write_text
from benchmarks.timing import RESULTS, hardware
from datasets_fewshot import MINI_DATASETS, draw, load_dataset, load_own_data
from datasets_fewshot.store.cache_folder import cache_folder
from tests.helpers.fitting import asked
from trainers.bench.plan import open_bench
from trainers.budget import read_budget
from trainers.config.load import load_bench
from trainers.evaluation.logits import predict
from trainers.fit.auto.contenders import in_loops, make_contenders
from trainers.fit.auto.portfolio import read_portfolio
from trainers.fit.auto.scores import difference
from trainers.fit.own_data import own_settings
from trainers.protocols.task import EvalSet, Task
from trainers.runs.identity import Run
from trainers.runs.records import read_records
from trainers.runs.replicas import learn_together
from trainers.training.few_shot import TrainLog

FILE = RESULTS / "auto_suite.json"
BACKBONE = "adaptkit-mini"
ZERO_SHOT = "zero_shot"
SHOWN = ("set", "shots", "seed", "auto", ZERO_SHOT, "chosen", "seconds")
KEPT = ("candidate", "state", "mean", "standard_error", "above_zero_shot", "folds", "seconds")  # of a leaderboard's row
Case = dict[str, Json]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder for exported images, adapters and cases")
    parser.add_argument("--sets", default=",".join(MINI_DATASETS))
    parser.add_argument("--shots", default="1,4,16")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--budget", default="10min")
    parser.add_argument("--candidates", default="", help="methods to compare (default: those of configs/auto.yaml)")
    args = parser.parse_args()
    read_budget(args.budget)
    names = [name for name in args.candidates.split(",") if name]
    cases = args.work / "cases" / ("+".join([args.budget, *names]))
    for seed in map(int, args.seeds.split(",")):
        for shots in map(int, args.shots.split(",")):
            for name in args.sets.split(","):
                case_file = cases / f"{name}-{shots}-{seed}.json"
                if case_file.is_file() or not has_shots(name, shots):
                    continue
                case = measured(name, shots, seed, args.budget, names, args.work)
                write_text(case_file, json.dumps(case) + "\n")
                print(
                    name, shots, seed, {key: case[key] for key in ("auto", ZERO_SHOT, "chosen", "seconds")}, flush=True
                )
                write(cases, args.budget, names)
    write(cases, args.budget, names)


def has_shots(name: str, shots: int) -> bool:
    """Whether a set has classes with so many images, or the shots are the fewest."""
    labels = [item.label for item in load_dataset(name).split.train]
    return shots == 1 or max(np.bincount(labels)) >= shots


def measured(name: str, shots: int, seed: int, budget: str, candidates: Sequence[str], work: Path) -> Case:
    """One case: a search, and every candidate alone."""
    data = exported(name, shots, seed, work / "data")
    out = work / "adapters" / f"{name}-{shots}-{seed}-{'+'.join([budget, *candidates])}"
    start = time.perf_counter()
    result = adaptkit.fit("auto", data, out, budget=budget, candidates=candidates, seed=seed, device="cpu")
    seconds = time.perf_counter() - start
    board = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))
    records = {record.method: record.scores[0] for record in read_records(out / "runs")[0]}
    chosen = records[board["rows"][0]["method"]].right()
    plain = records[ZERO_SHOT].right()
    lead = difference(chosen, plain, np.zeros(len(plain), dtype=np.int64), "accuracy")
    alone = dict(singles(data, shots, seed, candidates))
    rows = [{key: row[key] for key in KEPT} for row in board["rows"]]
    return {
        "set": name,
        "shots": shots,
        "seed": seed,
        "classes": len(result.method.classes.classnames),
        "training_images": board["images"],
        "test_images": result.test_images,
        "auto": round(result.accuracy, 3),
        ZERO_SHOT: round(result.zero_shot_accuracy, 3),
        "lead": round(lead.mean, 3),
        "lead_standard_error": round(lead.error, 3),
        "chosen": board["chosen"],
        "seconds": round(seconds, 1),
        "alone": alone,
        "leaderboard": rows,
    }


def exported(name: str, shots: int, seed: int, folder: Path) -> Path:
    """A folder with the train and test parts of a set's draw, as a user may have it."""
    place, dataset = folder / f"{name}-{shots}-{seed}", load_dataset(name)
    drawn = draw("coop", dataset.split, shots, seed)
    if not (place / "done").is_file():
        for part, items in (("train", drawn.train), ("test", drawn.test)):
            for number, item in enumerate(items):
                image = place / "images" / part / item.classname.replace("/", " ") / f"{number:05d}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                dataset.load(item).save(image)
        write_text(place / "done", "")
    return place / "images"


def singles(data: Path, shots: int, seed: int, candidates: Sequence[str]) -> Iterator[tuple[str, Json]]:
    """Test accuracy of every candidate that is trained in full on all training images, and of zero-shot."""
    own = load_own_data(data)
    settings = own_settings(asked("auto", data, seed=seed, backbone=BACKBONE, device="cpu"))
    settings["SHOTS"] = [shots]
    bench = open_bench(load_bench(None, (), {**settings, "METHODS": [ZERO_SHOT]}), data, cache_folder() / "features")
    train, names = own.split.train, own.classnames
    test = EvalSet("test", own, own.split.test, names)
    task = Task(train, (), names, (test,))
    portfolio = read_portfolio().named(candidates) if candidates else read_portfolio()
    contenders, _ = make_contenders(portfolio.candidates, settings, (), True, bench, names, len(train))
    for loop in in_loops(contenders, len(names)):
        runs = [Run(one.config(one.full), own, task, True, {}, data, one.consumes) for one in loop]
        for one, learnt in zip(loop, learn_together(runs, bench), strict=True):
            if isinstance(learnt.log, TrainLog):
                logits, labels = predict(learnt.method, bench.feed(learnt.method).test(test), bench.precision)
                yield one.label, round(float(100 * (logits.argmax(axis=1) == labels).mean()), 3)


def write(cases: Path, budget: str, candidates: Sequence[str]) -> None:
    """Put all finished cases of a budget and its candidates together."""
    known = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(cases.glob("*.json"))]
    if known:
        asked: Case = {"budget": budget, "candidates": list(candidates) or "those of configs/auto.yaml"}
        content = {**asked, "backbone": BACKBONE, "hardware": hardware(), **summary(known), "cases": known}
        write_text(FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def summary(cases: Sequence[dict[str, object]]) -> dict[str, object]:
    """What the issue of a practitioner is: is the choice as good as the best method would have been, and is it safe?"""
    alone: list[dict[str, float]] = [dict(case["alone"]) for case in cases]  # type: ignore[call-overload]
    everywhere = [label for label in alone[0] if all(label in own for own in alone)]
    means = {label: fmean(own[label] for own in alone) for label in everywhere}
    best = max(means, key=lambda label: means[label])
    auto, plain = mean_of(cases, "auto"), mean_of(cases, ZERO_SHOT)
    below = [case for case in cases if float(str(case["lead"])) < -float(str(case["lead_standard_error"]))]
    oracle = fmean(max(own.values()) for own in alone)
    return {
        "what": "mean test accuracy in percent over all cases (set, shots, seed)",
        "finished_cases": len(cases),
        "sets": sorted({str(case["set"]) for case in cases}),
        "auto": round(auto, 3),
        ZERO_SHOT: round(plain, 3),
        "best_single_in_hindsight": best,
        "best_single": round(means[best], 3),
        "gap_to_best_single": round(auto - means[best], 3),
        "best_of_each_case_in_hindsight": round(oracle, 3),
        "below_zero_shot_by_more_than_a_standard_error": len(below),
        "seconds_of_a_search": round(mean_of(cases, "seconds"), 1),
        "longest_search": max(float(str(case["seconds"])) for case in cases),
        "singles": {label: round(means[label], 3) for label in sorted(means, key=lambda label: -means[label])},
    }


def mean_of(cases: Sequence[dict[str, object]], key: str) -> float:
    """The mean of a number of all cases."""
    return fmean(float(str(case[key])) for case in cases)


if __name__ == "__main__":
    main()

"""What each method costs and gains on the embedded suite, for docs/which_method.md.

adaptkit bench --methods all --seeds 1 --out runs
adaptkit bench --protocol few_shot --methods all --shots 4 --seeds 1 --out runs
python -m benchmarks.which_method --runs runs [--methods coop,tpt]
python -m benchmarks.readme

Accuracies come from the records of these benches, on the data sets that all methods have. Costs are measured here, each
method in a process of its own with one thread: processor time, which other work on the machine changes little, of
learning and testing one data set whose image features are encoded already, processor time of one photo from the picture
to the answer, and memory of the process above that of zero-shot.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image

from adaptkit import AdaptedCLIP, create_method, list_methods, load_backbone, method_config
from benchmarks.timing import RESULTS, hardware
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.runs.execute import execute
from trainers.runs.learning import make_method
from trainers.runs.records import ResultRecord, read_records

FILE = RESULTS / "which_method.json"
BASELINE = "zero_shot"
MEASURED_ON = "icons"
PHOTOS = 16
SHOTS = 4
PROTOCOLS = {"base_to_novel": ("base", "new"), "few_shot": ("all",)}  # with their tests
SEEDS = (0, 1)  # 0 where one run stands for every seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, help="the folder that `adaptkit bench` wrote")
    parser.add_argument("--methods", help="measure these alone, and keep what is known of the others")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(cost_of(args.one)))
        return
    known = json.loads(FILE.read_text()) if FILE.is_file() else {"methods": {}}
    rows = known["methods"]
    for name in args.methods.split(",") if args.methods else list_methods():
        rows[name] = {**rows.get(name, {}), **measured(name)}
        print(name, {key: rows[name].get(key) for key in ("run_seconds", "photo_milliseconds", "memory_mb", "reason")})
        write(rows)
    for protocol, tests in PROTOCOLS.items() if args.runs else ():
        for name, accuracy in accuracies(args.runs, protocol, tests).items():
            if name in rows:
                rows[name][protocol] = accuracy
    write(rows)


def write(rows: dict[str, dict[str, object]]) -> None:
    """Keep what is known by now."""
    content = {"measured_on": MEASURED_ON, "hardware": hardware(), "methods": dict(sorted(rows.items()))}
    FILE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def measured(name: str) -> dict[str, object]:
    """The costs of a method from a process of its own, or the reason why it takes no part."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.which_method", "--one", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"reason": done.stderr.strip().splitlines()[-1].partition(": ")[2]}
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def cost_of(name: str) -> dict[str, object]:
    """Costs of a method and what it needs, in this process."""
    torch.set_num_threads(1)
    config = method_config(name)(**_few_tokens(name))
    bound = create_method(name, load_backbone("adaptkit-mini"), ["cat", "dog"], config).bound_to_classes
    protocol = "few_shot" if bound else "base_to_novel"
    words = ["PROTOCOL", protocol, "SHOTS", "[16]", "SEEDS", "[1]", "METHODS", f"[{name}]"]
    words += ["DATASETS", f"[{MEASURED_ON}]", "DEVICE", "cpu", "THREADS", "1"]
    with tempfile.TemporaryDirectory() as folder:
        settings = load_bench(overrides=words)
        bench = open_bench(settings, Path(folder), cache_folder() / "features")
        (run,) = plan(settings, bench).runs
        execute(run, bench)  # encodes what is kept
        again = replace(run, folder=Path(folder) / "again")
        start = time.process_time()
        record = execute(again, bench)
        seconds = time.process_time() - start
        method = make_method(run, bench, run.config.wrap).eval()
    return {
        "kind": "test_time" if method.sees else run.consumes,
        "sees": method.sees or "",
        "needs": needs(method, run.uses_training),
        "keeps_classes": bound is not None,
        "trainable": record.trainable_parameters,
        "run_seconds": round(seconds, 2),
        "photo_milliseconds": round(1000 * seconds_per_photo(method), 2),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _few_tokens(name: str) -> dict[str, object]:
    """Options with which a method's prompts fit into the embedded model."""
    return {"n_ctx": 4} if name in ("coop", "prograd") else {}


def needs(method: AdaptedCLIP, uses_training: bool) -> list[str]:
    """What a method has to be given besides class names."""
    given = []
    if uses_training:
        given.append("labelled images" if method.learns_from_labels else "unlabelled images")
    if "tune" in method.provides:
        given.append("validation images")
    if method.sees == "online":
        given.append("a stream of test images")
    elif method.sees == "transductive":
        given.append("all test images")
    return given


def seconds_per_photo(method: AdaptedCLIP) -> float:
    """Processor time from a picture of 256 x 256 pixels to the answer."""
    random = np.random.default_rng(0)
    photos = [Image.fromarray(random.integers(0, 255, (256, 256, 3), dtype=np.uint8)) for _ in range(PHOTOS)]
    method.predict(photos[:2])
    start = time.process_time()
    method.predict(photos)
    return (time.process_time() - start) / PHOTOS


def accuracies(runs: Path, protocol: str, tests: Sequence[str]) -> dict[str, dict[str, object]]:
    """Percent of each test by method: means over the data sets that the records of all methods have."""
    found: dict[str, list[ResultRecord]] = {}
    for record in read_records(runs)[0]:
        alone = "wrap" not in record.identity and "objective" not in record.identity
        asked = (
            record.protocol == protocol and record.seed in SEEDS and (protocol != "few_shot" or record.shots <= SHOTS)
        )
        if asked and alone:
            found.setdefault(record.method, []).append(record)
    common = set.intersection(*({record.dataset for record in records} for records in found.values()))
    rows: dict[str, dict[str, object]] = {}
    for name, every in found.items():
        records = [record for record in every if record.dataset in common]
        rows[name] = {test: round(fmean(record.value(test) for record in records), 2) for test in tests}
        rows[name]["datasets"] = sorted(common)
    return rows


if __name__ == "__main__":
    main()

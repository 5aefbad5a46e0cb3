"""Time the main job as a newcomer runs it, from an empty cache to the table, and say where the time goes.

python -m benchmarks.main_job --runs runs [bench words ...]
python -m benchmarks.readme --runs runs

`adaptkit bench` runs in a process of its own. Its start is what comes before the line that counts the runs, and the
first table is the first that it prints. What the workers did is summed over the records, by method and by phase. The
image tower's part of it is set beside the shortest time in which this machine's matrix product could do its operations.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from os import cpu_count, environ
from pathlib import Path
from typing import Any

import torch

from adaptkit import load_backbone, method_class
from benchmarks.timing import RESULTS, gflop, hardware
from trainers.runs.records import ResultRecord, read_records

MARKS = {"first_run": " to do, on ", "first_table": ", so far"}  # in what the job says of its progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="a folder for the records, new or empty")
    parser.add_argument("--out", type=Path, default=RESULTS / "main_job.json")
    args, words = parser.parse_known_args()
    if args.runs.exists() and any(args.runs.iterdir()):
        raise SystemExit(f"{args.runs} holds records already, so that nothing would be run; name an empty folder")
    seconds = timed([sys.executable, "-m", "trainers", "bench", "--out", str(args.runs), *words])
    records = read_records(args.runs)[0]
    content = {
        "what": " ".join(["adaptkit bench", *words]) + ", from an empty cache",
        "hardware": hardware() | {"cores": cpu_count()},
        "runs": len(records),
        "minutes": round(seconds.pop("all") / 60, 2),
        "seconds_until": seconds,
        "workers_seconds": by_phase(records),
        "image_tower": image_tower(records),
        "methods": by_method(records),
    }
    args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({key: value for key, value in content.items() if key != "methods"}, indent=1))


def timed(command: list[str]) -> dict[str, float]:
    """Seconds until the job counts its runs, shows its first table and ends."""
    begun = time.perf_counter()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as cache:
        env = environ | {"ADAPTKIT_CACHE": cache}
        with subprocess.Popen(command, env=env, text=True, stderr=subprocess.PIPE) as job:
            assert job.stderr is not None
            for line in job.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                for what, mark in MARKS.items():
                    if mark in line:
                        found.setdefault(what, round(time.perf_counter() - begun, 1))
    if job.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {job.returncode}")
    return {**found, "all": time.perf_counter() - begun}


def by_phase(records: Iterable[ResultRecord]) -> dict[str, float]:
    """Seconds of all runs by phase."""
    sums: dict[str, float] = defaultdict(float)
    for record in records:
        for phase, seconds in record.seconds.items():
            sums[phase] += seconds
    return {phase: round(total, 1) for phase, total in sums.items()}


def by_method(records: Iterable[ResultRecord]) -> dict[str, dict[str, float]]:
    """Seconds of a method's runs by phase, the longest first."""
    groups: dict[str, list[ResultRecord]] = defaultdict(list)
    for record in records:
        groups[record.label].append(record)
    rows = {name: by_phase(group) | {"steps": sum(record.steps for record in group)} for name, group in groups.items()}
    return dict(sorted(rows.items(), key=lambda row: -sum(value for key, value in row[1].items() if key != "steps")))


def image_tower(records: Iterable[ResultRecord]) -> dict[str, Any]:
    """What methods that run the image tower in every step took, and the least time for their matrix products.

    A training image counts a forward pass and a backward pass of as many operations, because frozen weights have no
    gradient; a test image counts a forward pass.
    """
    fed = [record for record in records if method_class(record.method).consumes == "images"]
    passes = sum(2 * record.train_items * record.epochs + sum(score.total for score in record.scores) for record in fed)
    operations, speed = forward_gflop(), matmul_speed()
    return {
        "runs": len(fed),
        "seconds": round(sum(sum(record.seconds.values()) for record in fed), 1),
        "passes": passes,
        "gflop_per_pass": round(operations, 3),
        "matmul_gflop_per_second": round(speed, 1),
        "least_seconds": round(passes * operations / speed, 1),
    }


def forward_gflop() -> float:
    """Operations of the embedded model's image tower on one image, in units of 10^9."""
    backbone = load_backbone("adaptkit-mini")
    image = torch.zeros(1, 3, *backbone.preprocess_cfg.image_size)
    return gflop(lambda: backbone.encode_image(image))


def matmul_speed(size: int = 2048, repeats: int = 5) -> float:
    """Operations of a matrix product in a second on one thread, in units of 10^9; the best of some."""
    torch.set_num_threads(1)
    square, best = torch.rand(size, size), 0.0
    for _ in range(repeats):
        begun = time.perf_counter()
        square @ square
        best = max(best, 2 * size**3 / (time.perf_counter() - begun) / 1e9)
    return best


if __name__ == "__main__":
    main()

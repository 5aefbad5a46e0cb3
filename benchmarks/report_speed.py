"""Measure the time to list 1,000 finished runs, tabulate them and put them on a page, by a user's own commands.

python -m benchmarks.report_speed
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from trainers.evaluation.scoring import score
from trainers.runs.records import (
    SCHEMA_VERSION,
    Json,
    ResultRecord,
    TestScore,
    run_folder,
    run_id,
    test_score,
    write_record,
)

RESULT = Path(__file__).parent / "results" / "report_speed.json"
METHODS = ("zero_shot", "coop", "cocoop", "kgcoop", "prograd", "maple", "promptsrc", "clip_adapter", "clip_lora")
DATASETS = ("caltech101", "dtd", "eurosat", "fgvc_aircraft", "food101", "imagenet", "oxford_flowers", "oxford_pets",
            "stanford_cars", "sun397", "ucf101")  # fmt: skip
SEEDS = 10
CLASSES, IMAGES = 50, 2000  # classes and images of each half, about as in the papers' data sets
RUNS = 1000
AIM_SECONDS = 2.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        count = write_fake_runs(runs)
        commands = {
            "runs ls": ["runs", "ls", str(runs)],
            "report": ["report", str(runs)],
            "report --format html": ["report", str(runs), "--format", "html", "--out", f"{folder}/page.html"],
        }
        seconds = {name: cpu_and_wall(words) for name, words in commands.items()}
        page = (Path(folder) / "page.html").stat().st_size
    both = seconds["runs ls"][0] + seconds["report"][0]
    result = {"runs": count, "cpu_and_wall_seconds": seconds, "list_and_tables_cpu_seconds": both, "page_bytes": page}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    print(f"listed and tabulated in {both:.2f} s of CPU: {'within' if both < AIM_SECONDS else 'over'} {AIM_SECONDS} s")


def cpu_and_wall(words: list[str]) -> tuple[float, float]:
    """Seconds of CPU and of the clock for a command, including Python's start."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "trainers", *words], check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(cpu, 3), round(wall, 3)


def write_fake_runs(out: Path) -> int:
    """Write records of runs that never ran, with random logits: base to novel on eleven data sets."""
    random = np.random.default_rng(0)
    names = tuple(f"class number {index}" for index in range(CLASSES))
    labels = np.arange(IMAGES) % CLASSES
    count = 0
    for seed in range(1, SEEDS + 2):
        for dataset in DATASETS:
            for method in METHODS:
                if count == RUNS:
                    return count
                tests = tuple(fake_test(name, random, labels, names, dataset) for name in ("base", "new"))
                record = fake_record(dataset, method, seed, tests)
                write_record(record, run_folder(out, record.identity))
                count += 1
    return count


def fake_test(
    name: str, random: np.random.Generator, labels: np.ndarray, names: tuple[str, ...], dataset: str
) -> TestScore:
    logits = random.normal(size=(IMAGES, CLASSES))
    logits[np.arange(IMAGES), labels] += 2.5
    return test_score(name, score(logits, labels), names, f"{dataset} {name}")


def fake_record(dataset: str, method: str, seed: int, tests: tuple[TestScore, ...]) -> ResultRecord:
    identity: dict[str, Json] = {
        "protocol": "base_to_novel",
        "dataset": dataset,
        "method": method,
        "shots": 16,
        "seed": seed,
        "weights": "f" * 64,
        "backbone": "ViT-B-16",
        "precision": "bf16",
        "optim": {"lr": 0.002, "epochs": 50},
        "options": {"n_ctx": 4},
    }
    return ResultRecord(
        schema_version=SCHEMA_VERSION,
        run_id=run_id(identity),
        identity=identity,
        protocol="base_to_novel",
        suite="paper",
        dataset=dataset,
        method=method,
        shots=16,
        seed=seed,
        deterministic=False,
        backbone="ViT-B-16",
        pretrained="openai",
        scores=tests,
        augmentation="the papers' views",
        epochs=50,
        steps=800,
        train_items=800,
        trainable_parameters=2048,
        final_loss=0.5,
        seconds={"encode": 1.0, "train": 20.0, "test": 2.0},
        peak_memory_mb=1000.0,
        versions={"adaptkit": "0"},
        hardware={"device": "none"},
        finished="2026-01-01T00:00:00+00:00",
        notes=(),
    )


if __name__ == "__main__":
    main()

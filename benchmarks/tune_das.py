"""Choose start, rate, steps and batch of DAS on the embedded suite, on validation images of base classes, never test's.

python -m benchmarks.tune_das [--runs runs/tune] [--out benchmarks/results/tune_das.json]

Zero-shot CLIP with the last two image blocks skipped, the text tower as it is, one seed of the data sets that have the
most validation images. The choice belongs into configs/suites/mini.yaml. Rows that the file holds are kept.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean

from benchmarks.tune_mini_suite import validate
from datasets_fewshot.cache_folder import cache_folder
from trainers.config import load_bench
from trainers.matrix import open_bench
from trainers.sources import load_sources

DATASETS = ("fashion_mnist", "icons", "openclipart")
GRID = (  # start, rate, steps, batch, skipped blocks
    ("zero", 0.001, 30, 16, 2),
    ("zero", 0.004, 30, 16, 2),
    ("zero", 0.008, 30, 16, 2),
    ("zero", 0.016, 30, 16, 2),
    ("zero", 0.008, 120, 16, 2),
    ("zero", 0.008, 120, 8, 2),
    ("zero", 0.008, 240, 8, 2),
    ("zero", 0.008, 120, 8, 0),
    ("zero", 0.001, 120, 8, 0),
    ("zero", 0.001, 120, 8, 2),
    ("fitted", 0.001, 120, 8, 2),
    ("fitted", 0.004, 120, 8, 2),
)
KEYS = ("init", "lr", "steps", "batch", "skipped")
SETTINGS = ("DAS.INIT", "OPTIM.LR", "OPTIM.STEPS", "OPTIM.BATCH_SIZE", "DAS.SKIP_VISION")
FIXED = ("WRAP", "[das]", "METHODS", "[zero_shot]", "DATASETS", f"[{', '.join(DATASETS)}]", "SEEDS", "[1]")
VISION = ("DEVICE", "cpu", "DAS.ENCODER", "vision", "DAS.SKIP_TEXT", "0", "DAS.SELECT", "last")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/tune"), help="where finished trainings are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tune_das.json"))
    args = parser.parse_args()
    kept = json.loads(args.out.read_text())["rows"] if args.out.is_file() else []
    rows = []
    for cell in GRID:
        row = next((row for row in kept if tuple(row[key] for key in KEYS) == cell), None)
        if row is None:
            words = (word for key, value in zip(SETTINGS, cell, strict=True) for word in (key, str(value)))
            found = accuracies(list(words), args.runs)
            row = {**dict(zip(KEYS, cell, strict=True)), "mean": fmean(found.values()), **found}
        rows.append(row)
        print(row, flush=True)
    args.out.write_text(json.dumps({"datasets": DATASETS, "seed": 1, "rows": rows}, indent=1) + "\n")


def accuracies(overrides: list[str], runs: Path) -> dict[str, float]:
    """Percent of the validation images of base classes, by data set."""
    config = load_bench(overrides=[*FIXED, *VISION, *overrides])
    bench = open_bench(config, runs, cache_folder() / "features")
    sources = load_sources(config)
    return {run.dataset: validate(run, sources, bench).score("val").accuracy for run in config.runs}


if __name__ == "__main__":
    main()

"""Compare FDT with the methods that it wraps on the embedded suite, from finished records to one JSON and one table.

    adaptkit bench --methods zero_shot,fdt,clip_adapter,coop --out runs
    adaptkit bench --methods clip_adapter,coop --wrap fdt --out runs
    adaptkit bench --methods clip_adapter,coop --out runs/control OPTIM.NAME adamw OPTIM.LR 0.003 \\
      OPTIM.WEIGHT_DECAY 0.01 OPTIM.EPOCHS 20 OPTIM.BATCH_SIZE 64 OPTIM.DROP_LAST false \\
      OPTIM.LR_SCHEDULER cosine_steps OPTIM.WARMUP_SHARE 0.05 OPTIM.CLIP_NORM 1.0
    python -m benchmarks.fdt_suite runs --control runs/control [--out benchmarks/results/fdt_suite.json]

The control is the method alone with its optimiser under FDT, so the difference from the control is the effect of FDT.
Differences are of harmonic means, paired by data set and seed; the standard error is over those pairs.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev

from adaptkit.artefacts.atomic_file import write_text
from trainers.evaluation.scoring import harmonic_mean
from trainers.runs.records import ResultRecord, read_records

Cell = tuple[str, int]  # (data set, seed)
PAIRS = (
    ("zero_shot", "fdt"),
    ("clip_adapter", "clip_adapter+fdt"),
    ("clip_adapter (optimiser of fdt)", "clip_adapter+fdt"),
    ("coop", "coop+fdt"),
    ("coop (optimiser of fdt)", "coop+fdt"),
)
SEEDS = (1, 2, 3)


def by_label(folders: list[Path], suffix: str = "") -> dict[str, dict[Cell, ResultRecord]]:
    """Map label -> (data set, seed) -> record; a record without a seed counts for all seeds."""
    found: dict[str, dict[Cell, ResultRecord]] = {}
    for folder in folders:
        for record in read_records(folder)[0]:
            for seed in SEEDS if record.deterministic else (record.seed,):
                found.setdefault(record.label + suffix, {})[record.dataset, seed] = record
    return found


def h(record: ResultRecord) -> float:
    return harmonic_mean(record.score("base").accuracy, record.score("new").accuracy)


def summary(records: dict[Cell, ResultRecord]) -> dict[str, float]:
    """Means over data sets and seeds, in percent."""
    return {
        "base": fmean(record.score("base").accuracy for record in records.values()),
        "new": fmean(record.score("new").accuracy for record in records.values()),
        "h": fmean(h(record) for record in records.values()),
    }


def comparison(before: dict[Cell, ResultRecord], after: dict[Cell, ResultRecord]) -> dict[str, object]:
    """Changes by data set and over all, on the (data set, seed) pairs that both have."""
    cells = sorted(before.keys() & after.keys())
    differences = {cell: h(after[cell]) - h(before[cell]) for cell in cells}
    datasets = sorted({dataset for dataset, _ in cells})
    values = list(differences.values())
    return {
        "pairs": len(cells),
        "difference_of_h": fmean(values),
        "standard_error": stdev(values) / len(values) ** 0.5,
        "by_dataset": {name: fmean(differences[cell] for cell in cells if cell[0] == name) for name in datasets},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fdt_suite.json"))
    args = parser.parse_args()
    found = by_label(args.runs) | by_label([args.control], " (optimiser of fdt)")
    wanted = dict.fromkeys(label for pair in PAIRS for label in pair)
    methods = {label: summary(found[label]) for label in wanted if label in found}
    comparisons = {f"{a} -> {b}": comparison(found[a], found[b]) for a, b in PAIRS if a in found and b in found}
    result = {
        "backbone_weights": str(next(iter(found["fdt"].values())).identity["weights"]),
        "methods": methods,
        "comparisons": comparisons,
        "runs": [
            {"label": label, "dataset": dataset, "seed": seed, "run_id": record.run_id}
            | {score.name: score.accuracy for score in record.scores}
            for label in wanted
            for (dataset, seed), record in sorted(found.get(label, {}).items())
        ],
    }
    write_text(args.out, json.dumps(result, indent=1) + "\n")
    for label, numbers in methods.items():
        print(f"| {label} | {numbers['base']:.2f} | {numbers['new']:.2f} | {numbers['h']:.2f} |")
    for name, entry in comparisons.items():
        print(f"{name}: {entry['difference_of_h']:+.2f} ± {entry['standard_error']:.2f} ({entry['pairs']} pairs)")


if __name__ == "__main__":
    main()

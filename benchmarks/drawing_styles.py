"""Test whether few-shot training on emoji loses against zero-shot because of drawing styles or of hard training.

    python -m benchmarks.drawing_styles [--runs runs/styles] [--out benchmarks/results/drawing_styles.json]

The test family is twemoji, a coloured one. The same methods learn from two other coloured families, and from two that
are drawn in black lines: as many images of the same classes, in a near and in a far style. They also learn from the
near style at the smallest rate that was tried for the suite. The data are all classes of the six sets of emoji, with
three seeds. Differences are from zero-shot on the same images, in percentage points, means over data sets and seeds.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from adaptkit.artefacts.atomic_file import write_text
from benchmarks.timing import hardware
from datasets_fewshot import MINI_DATASETS
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.runs.execute import execute
from trainers.runs.records import ResultRecord, read_record

TESTED = "twemoji"
NEAR, FAR = ("DATA.FAMILIES", "[emojitwo, noto-v1]"), ("DATA.FAMILIES", "[symbola, emojitwo-mono]")
CASES = {"coloured": NEAR, "black lines": FAR, "coloured, rate 0.01": (*NEAR, "OPTIM.LR", "0.01")}
METHODS = ("zero_shot", "coop", "kgcoop", "clip_adapter")
DATASETS = [name for name in MINI_DATASETS if name.startswith("emoji_") and name != "emoji_subgroups"]
FIXED = ("PROTOCOL", "domain_generalization", "METHODS", f"[{', '.join(METHODS)}]", "SEEDS", "[1, 2, 3]")
ON = ("DATASETS", f"[{', '.join(DATASETS)}]", "TARGETS", f"[{TESTED}]", "SHOTS", "[2]", "DEVICE", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/styles"), help="where finished trainings are kept")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/drawing_styles.json"))
    args = parser.parse_args()
    rows = []
    for case, settings in CASES.items():
        records = trained(settings, args.runs)
        baseline = {record.dataset: accuracy(record) for record in records if record.method == "zero_shot"}
        for method in METHODS[1:]:
            differences = [accuracy(record) - baseline[record.dataset] for record in records if record.method == method]
            error = stdev(differences) / math.sqrt(len(differences))
            rows.append({"learns from": case, "method": method, "difference": fmean(differences), "error": error})
            print(f"{case}, {method}: {fmean(differences):+.2f} +- {error:.2f}", flush=True)
    content = {"tested on": TESTED, "cases": CASES, "datasets": DATASETS, "hardware": hardware(), "rows": rows}
    write_text(args.out, json.dumps(content, indent=1) + "\n")


def trained(settings: Sequence[str], out: Path) -> list[ResultRecord]:
    """The records of all methods trained with these settings."""
    config = load_bench(overrides=[*FIXED, *ON, *settings])
    bench = open_bench(config, out, cache_folder() / "features")
    todo = plan(config, bench)
    for run in todo.to_do:
        execute(run, bench)
    return [read_record(run.folder) for run in todo.runs]


def accuracy(record: ResultRecord) -> float:
    """Accuracy in percent on the test family."""
    return record.score(TESTED).accuracy


if __name__ == "__main__":
    main()

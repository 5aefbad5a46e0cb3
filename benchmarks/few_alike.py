"""Rates for four images a class where held-out images are like those that were learnt from, as own images are.

python -m benchmarks.few_alike [--runs runs/tune]

The rehearsal of `tune_mini_suite` with four shots of data sets whose images are of one kind throughout: half of the
base classes are learnt, and held-out images of both halves are tested; no test image and no new class takes part.
`adaptkit train` takes the suite's rates for 16 shots because of it, and not those of emoji, which are tested on
drawings of another family. Writes benchmarks/results/few_alike.json.
"""

import argparse
import json
from pathlib import Path

from benchmarks.timing import RESULTS
from benchmarks.tune_mini_suite import STEPS, Grid, halves, row

FILE = RESULTS / "few_alike.json"
DATASETS = ("openclipart", "icons", "fashion_mnist")
FEW = {"SHOTS": "[4]"}
GRIDS = {  # rates of emoji, rates of 16 shots, and some between
    "coop": Grid((0.002, 0.01, 0.05), 50, 128, seeds=(1,), more=FEW),
    "kgcoop": Grid((0.05, 0.2), 50, 128, seeds=(1,), more=FEW),
    "clip_adapter": Grid((0.002, 0.05), 50, 128, seeds=(1,), more=FEW),
    "prolip": Grid((0.0001, 0.001), 300, 256, seeds=(1,), more=FEW),
    "vpt": Grid((0.0003, 0.003, 0.01), 5, 16, seeds=(1,), more=FEW),
    "clip_lora": Grid((0.0005, 0.002, 0.008), 5, 16, seeds=(1,), more={**FEW, **STEPS}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/tune"), help="where finished trainings are kept")
    args = parser.parse_args()
    found: dict[str, list[dict[str, object]]] = {}
    for method, grid in GRIDS.items():
        found[method] = [{"lr": lr, **row(halves(method, grid, lr, DATASETS, args.runs)[0])} for lr in grid.rates]
        print(method, [(each["lr"], each["mean"]) for each in found[method]], flush=True)
    FILE.write_text(json.dumps({"datasets": DATASETS, "shots": 4, "methods": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

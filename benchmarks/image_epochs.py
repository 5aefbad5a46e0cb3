"""How many epochs pay for methods that run the image tower in every step, by the rehearsal of `tune_mini_suite`.

python -m benchmarks.image_epochs [--runs runs/tune]

Half of the base classes of the data sets with 16 shots are learnt, and held-out images of both halves are tested: no
test image and no new class takes part. Finished trainings are reused. Writes benchmarks/results/image_epochs.json.
"""

import argparse
import json
from pathlib import Path

from benchmarks.timing import RESULTS
from benchmarks.tune_mini_suite import GROUPS, MANY, Grid, halves, row

FILE = RESULTS / "image_epochs.json"
CASES = [  # method, rate, epochs, images in a batch, other settings
    ("maple", 0.003, 5, 16, {}),
    ("maple", 0.003, 5, 4, {}),  # as in the paper
    ("maple", 0.003, 15, 16, {}),
    ("promptsrc", 0.03, 5, 16, {"PROMPTSRC.AVERAGE_MEAN": "4.0"}),
    ("promptsrc", 0.03, 15, 16, {"PROMPTSRC.AVERAGE_MEAN": "11"}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/tune"), help="where finished trainings are kept")
    args = parser.parse_args()
    found = []
    for method, lr, epochs, batch_size, more in CASES:
        grid = Grid((lr,), epochs, batch_size, seeds=(1,), more=more)
        rehearsed = row(halves(method, grid, lr, GROUPS[MANY], args.runs)[0])
        found.append({"method": method, "lr": lr, **grid.facts(), **rehearsed})
        print(method, epochs, batch_size, rehearsed["mean"], flush=True)
        FILE.write_text(json.dumps({"group": MANY, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

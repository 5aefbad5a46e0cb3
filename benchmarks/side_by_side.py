"""Time a bench whose seeds learn side by side against one that trains every run on its own, start-up included.

python -m benchmarks.side_by_side [--methods coop,kgcoop] [--datasets openclipart]

Each bench is a command of its own with one worker, one thread and a cache of encoded images that is there already.
Seconds are those of the command's processes, so that other work on the machine counts little. Seconds before the first
run are those of a bench whose runs are all finished.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import RESULTS, hardware

METHODS = "coop,kgcoop,clip_adapter,taskres"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--datasets", default="openclipart")
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS / "side_by_side.json")
    args = parser.parse_args()
    words = ["--methods", args.methods, "--datasets", args.datasets, "--shots", str(args.shots)]
    with tempfile.TemporaryDirectory() as folder:
        seconds(words, "first", Path(folder))  # encodes the images
        start_up = seconds(words, "first", Path(folder))
        alone = seconds([*words, "--replicas", "1"], "alone", Path(folder))
        together = seconds(words, "together", Path(folder))
    content = {
        "what": "few_shot on adaptkit-mini, 3 seeds, one worker and one thread, CPU seconds of the command",
        "methods": args.methods.split(","),
        "datasets": args.datasets.split(","),
        "shots": args.shots,
        "hardware": hardware(),
        "start_up_seconds": round(start_up, 2),
        "alone_seconds": round(alone, 2),
        "side_by_side_seconds": round(together, 2),
        "ratio_without_start_up": round((together - start_up) / (alone - start_up), 3),
    }
    args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


def seconds(words: list[str], out: str, folder: Path) -> float:
    """CPU seconds of a bench and its processes."""
    fixed = ["--protocol", "few_shot", "--device", "cpu", "--threads", "1", "--workers", "1"]
    environment = {**os.environ, "ADAPTKIT_CACHE": str(folder / "cache")}
    before = os.times()
    command = [sys.executable, "-m", "trainers", "bench", *fixed, *words, "--out", str(folder / out)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()

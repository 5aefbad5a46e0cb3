"""Measure the time to load the items of a tree as large as ImageNet (1.3 million entries), first and later times.

    python benchmarks/imagenet_index.py [--folder FOLDER] [--out benchmarks/results/imagenet_index.json]

The tree is fake: links to empty files. Making it takes longer than reading it.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

from datasets_fewshot import load_dataset
from datasets_fewshot.paper_format.facts import imagenet_family_wnids

IMAGES_PER_CLASS = {"train": 1281, "val": 50}
WARM_LOADS = 5


def make_tree(root: Path) -> None:
    for part, count in IMAGES_PER_CLASS.items():
        for wnid in imagenet_family_wnids("imagenet"):
            folder = root / "imagenet" / "images" / part / wnid
            folder.mkdir(parents=True)
            first = folder / f"{wnid}_0.JPEG"
            first.touch()
            for index in range(1, count):
                os.link(first, folder / f"{wnid}_{index}.JPEG")


def seconds_to_load(root: Path) -> tuple[float, float]:
    """Seconds on the clock, and of CPU time, which other programs on the machine do not lengthen."""
    start, cpu_start = time.perf_counter(), time.process_time()
    dataset = load_dataset("imagenet", root)
    assert len(dataset.split.train) == 1_281_000
    return time.perf_counter() - start, time.process_time() - cpu_start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where to make the tree (default: a temporary folder)")
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        os.environ["ADAPTKIT_CACHE"] = f"{folder}/cache"
        make_tree(Path(folder))
        first = seconds_to_load(Path(folder))
        clock, cpu = zip(*(seconds_to_load(Path(folder)) for _ in range(WARM_LOADS)), strict=True)
    print("first load {:.2f} s, {:.2f} s of CPU time".format(*first))
    print(f"later loads {median(clock):.2f} s, {median(cpu):.2f} s of CPU time (medians of {WARM_LOADS})")
    result = {
        "entries": 1000 * sum(IMAGES_PER_CLASS.values()),
        "first_load_seconds": {"clock": round(first[0], 2), "cpu": round(first[1], 2)},
        "later_loads_seconds": {"clock": [round(s, 2) for s in clock], "cpu": [round(s, 2) for s in cpu]},
        "busy_machine": os.getloadavg()[0] > (os.cpu_count() or 1),  # on a busy machine the clock says little
        "python": platform.python_version(),
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

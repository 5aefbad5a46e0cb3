"""Seconds to load the item list of a tree as large as ImageNet (1.3 million entries), first and later times.

    python benchmarks/imagenet_index.py [--folder FOLDER]

The tree is fake: links to empty files. Making it takes longer than reading it.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from datasets_fewshot import load_dataset
from datasets_fewshot.facts import imagenet_family_wnids

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
    """On the clock, and of CPU time, which other programs on the machine do not lengthen."""
    start, cpu_start = time.perf_counter(), time.process_time()
    dataset = load_dataset("imagenet", root)
    assert len(dataset.split.train) == 1_281_000
    return time.perf_counter() - start, time.process_time() - cpu_start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where to make the tree (default: a temporary folder)")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as folder:
        os.environ["ADAPTKIT_CACHE"] = f"{folder}/cache"
        make_tree(Path(folder))
        print("first load {:.2f} s, {:.2f} s of CPU time".format(*seconds_to_load(Path(folder))))
        clock, cpu = zip(*(seconds_to_load(Path(folder)) for _ in range(WARM_LOADS)), strict=True)
        print(f"later loads {median(clock):.2f} s, {median(cpu):.2f} s of CPU time (medians of {WARM_LOADS})")


if __name__ == "__main__":
    main()

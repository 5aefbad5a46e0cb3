"""Measure the share of machinery in a run's time: everything but encoding, forward and backward passes and the step.

    python -m benchmarks.overhead [--datasets emoji_food,icons] [--methods zero_shot,coop,maple]

Runs of the embedded suite go through the bench in this process, with a cache and a folder of their own, and with the
default checkpoints. Planning, claims, records, data order, losses and the learning rate are machinery. Computing is
timed inside the calls that compute. The share must be below 5 % of the CPU time of this thread; the wall-clock share,
which includes waits for the disk and for other programs, is reported as well.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar
from unittest import mock

import torch

import trainers.evaluation.logits
import trainers.runs.execute
import trainers.runs.learning
from adaptkit import method_class
from adaptkit.artefacts.atomic_file import write_text
from trainers.bench.jobs import performer, run_all
from trainers.bench.plan import open_bench, plan
from trainers.compute.team import Trainee
from trainers.config.load import load_bench
from trainers.feeding.batches import ImageBatches
from trainers.feeding.encoder import ImageEncoder
from trainers.launchers import InProcess

LIMIT = 0.05  # largest share of a run's CPU time
P = ParamSpec("P")
Answer = TypeVar("Answer")


@dataclass
class Stopwatch:
    """Seconds by kind of computing, on the wall and of this thread's CPU; nested timed calls count once."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    runs: bool = False

    @contextmanager
    def time(self, kind: str) -> Iterator[None]:
        if self.runs:
            yield
            return
        self.runs, wall, cpu = True, time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.runs = False
            self.wall[kind] = self.wall.get(kind, 0.0) + time.perf_counter() - wall
            self.cpu[kind] = self.cpu.get(kind, 0.0) + time.thread_time() - cpu

    def timed(self, kind: str, function: Callable[P, Answer]) -> Callable[P, Answer]:
        """Wrap a function so that its calls are timed."""

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Answer:
            with self.time(kind):
                return function(*args, **kwargs)

        return call

    def timed_batches(self, kind: str, function: Callable[P, Iterator[Answer]]) -> Callable[P, Iterator[Answer]]:
        """Wrap a generator function so that the time for each of its answers is counted."""

        @wraps(function)
        def batches(*args: P.args, **kwargs: P.kwargs) -> Iterator[Answer]:
            rest = function(*args, **kwargs)
            while True:
                with self.time(kind):
                    answer = next(rest, None)
                if answer is None:
                    return
                yield answer

        return batches


@contextmanager
def watched(watch: Stopwatch, methods: list[str]) -> Iterator[None]:
    """Time every computing call of the bench inside the block."""
    with ExitStack() as patches:

        def patch(owner: object, name: str, timed: object) -> None:
            patches.enter_context(mock.patch.object(owner, name, timed))

        patch(ImageEncoder, "_encode", watch.timed_batches("encode images", ImageEncoder._encode))
        patch(ImageBatches, "__iter__", watch.timed_batches("decode images", ImageBatches.__iter__))
        patch(
            trainers.runs.learning, "create_method", watch.timed("encode texts", trainers.runs.learning.create_method)
        )
        patch(trainers.runs.execute, "set_classes", watch.timed("encode texts", trainers.runs.execute.set_classes))
        patch(trainers.runs.execute, "predict", watch.timed("forward", trainers.runs.execute.predict))
        patch(Trainee, "backward", watch.timed("forward and backward", Trainee.backward))
        for optimizer in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
            patch(optimizer, "step", watch.timed("optimiser's step", optimizer.step))
        for cls in {method_class(name) for name in methods}:
            patch(cls, "prepare", watch.timed("prepare and tune", cls.prepare))
            patch(cls, "tune", watch.timed("prepare and tune", cls.tune))
        yield


def measure(datasets: list[str], methods: list[str]) -> dict[str, object]:
    """Run the matrix and return the shares of its time."""
    words = ["DATASETS", json.dumps(datasets), "METHODS", json.dumps(methods), "SEEDS", "[1]", "DEVICE", "cpu"]
    config, watch = load_bench(overrides=words), Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        out, cache = Path(folder) / "runs", Path(folder) / "cache"
        shared = open_bench(config, out, cache)
        shared.backbone.encode_image(torch.zeros(1, 3, *shared.backbone.preprocess_cfg.image_size))  # warm-up
        with watched(watch, methods):
            wall, cpu = time.perf_counter(), time.thread_time()
            todo = plan(config, shared)
            launcher = InProcess(performer(todo, shared), "cpu")
            records, _ = run_all(config, todo, shared, cache, launcher, lambda event: None)
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    return {
        "runs": len(records),
        "datasets": datasets,
        "methods": methods,
        "steps": sum(record.steps for record in records),
        "seconds": {"wall": wall, "cpu": cpu},
        "computing_cpu_seconds": watch.cpu,
        "machinery_share": {
            "cpu": 1 - sum(watch.cpu.values()) / cpu,
            "wall": 1 - sum(watch.wall.values()) / wall,
        },
        "limit": LIMIT,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--datasets", default="emoji_food,emoji_activities,icons,openclipart,fashion_mnist")
    parser.add_argument("--methods", default="zero_shot,coop,maple")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/overhead.json"))
    args = parser.parse_args()
    result = measure(args.datasets.split(","), args.methods.split(","))
    write_text(args.out, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return int(float(result["machinery_share"]["cpu"]) >= LIMIT)  # type: ignore[index]


if __name__ == "__main__":
    sys.exit(main())

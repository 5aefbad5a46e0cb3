"""Measure adaptkit on one CUDA card at ViT-B/16 size: random weights, bf16 autocast, learnt tensors in fp32.

    python -m benchmarks.gpu                                        # about 8 minutes; benchmarks/results/gpu.json
    python -m benchmarks.gpu --device cpu --model tiny --seconds 1  # tries the script out; writes nothing

The sections run in this order, while the time lasts: the card's matmul peak, the image tower, CoCoOp on 1,000 classes,
a training step of every registered method, eager and as a CUDA graph, the two aims of `gpu_aims.py`, 32 trainings side
by side against one, and torch.compile on a few.
Methods that train on cached features count rows of the cache per second as images per second.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import torch
import yaml
from torch import Tensor

from adaptkit import AdaptedCLIP, FrozenCLIP, Support, create_method, list_methods
from benchmarks.device import GraphStep, ReplicaStep, Step, TrainStep, memory, seconds_per_step, waits_for_device
from benchmarks.gpu_aims import coop_table, maple_500
from benchmarks.models import as_backbone, classnames, random_clip
from benchmarks.timing import RESULTS, gflop, hardware
from trainers.compute.precision import Precision, autocast

PRECISION: Precision = "bf16"
BATCH_SIZES = (1, 4, 16, 64, 256, 1024)  # batch sizes of the image tower
N_CLASSES = 100  # number of classes in the methods' steps
COMPILED = ("coop", "maple")  # methods whose steps are compiled as well
REPLICATED = ("coop", "kgcoop", "clip_adapter")  # methods whose trainings are timed side by side
N_REPLICAS = 32
COMPILE_SECONDS = 100  # limit for compiling one of them
Row = dict[str, object]


@dataclass(frozen=True)
class Bench:
    """One run of this script."""

    size: str
    device: torch.device
    seconds: float  # limit for everything on a card; a CPU run has no limit
    started: float

    @property
    def window(self) -> float:
        """Seconds for one measurement."""
        return self.seconds / 320

    def left(self) -> float:
        """Seconds left for the remaining measurements."""
        gone = time.perf_counter() - self.started
        return self.seconds - gone if self.device.type == "cuda" else math.inf

    def backbone(self, dtype: torch.dtype = torch.float32) -> FrozenCLIP:
        return as_backbone(random_clip(self.size).to(dtype), self.size).to(self.device)

    def images(self, backbone: FrozenCLIP, count: int) -> Tensor:
        return torch.randn(count, 3, *backbone.preprocess_cfg.image_size, device=self.device)

    def time(self, step: Step) -> float:
        return seconds_per_step(step, self.device, self.window)


@dataclass(frozen=True)
class Peak:
    """The peak speed of a large square matrix product in bf16."""

    n: int
    tflops: float


def matmul_peak(bench: Bench) -> Peak:
    n = 8192 if bench.device.type == "cuda" else 256
    a, b = (torch.randn(n, n, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    return Peak(n, 2 * n**3 / bench.time(lambda: a @ b) / 1e12)


@dataclass(frozen=True)
class TowerSpeed:
    """Speed of the frozen image tower at one batch size."""

    weights: str  # float32 under autocast, or bfloat16 weights
    batch_size: int
    images_per_second: float
    share_of_peak: float
    memory: Mapping[str, float]


def image_tower(bench: Bench, peak_tflops: float) -> list[TowerSpeed]:
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        backbone = bench.backbone(dtype)
        gflop_per_image = gflop(partial(encode_images, backbone, bench.images(backbone, 1)))
        for batch_size in BATCH_SIZES:
            encode = partial(encode_images, backbone, bench.images(backbone, batch_size))
            speed = batch_size / bench.time(encode)
            share = speed * gflop_per_image / 1000 / peak_tflops
            weights = str(dtype).removeprefix("torch.")
            rows.append(TowerSpeed(weights, batch_size, speed, share, memory(encode, bench.device)))
    return rows


@torch.no_grad()
def encode_images(backbone: FrozenCLIP, images: Tensor) -> Tensor:
    with autocast(backbone.device, PRECISION):
        return backbone.encode_image(images)


def recipe_batch_size(name: str) -> int:
    """The batch size of a method's recipe."""
    recipe = yaml.safe_load((resources.files("configs") / "methods" / f"{name}.yaml").read_text())
    return recipe.get("OPTIM", {}).get("BATCH_SIZE", 32)


def inputs(bench: Bench, method: AdaptedCLIP, batch_size: int) -> tuple[Tensor, Tensor]:
    """A batch of the method's input and its labels; the method is prepared with the batch as its support set."""
    x = bench.images(method.backbone, batch_size)
    if method.consumes == "features":
        x = torch.randn(batch_size, method.backbone.embed_dim, device=bench.device)
    labels = torch.arange(batch_size, device=bench.device) % len(method.classes)
    method.prepare(Support(x, labels))
    return x, labels


def method_step(bench: Bench, backbone: FrozenCLIP, name: str, peak_tflops: float) -> Row:
    """Measure the training step of one method, eager and, if possible, as a CUDA graph."""
    batch_size = recipe_batch_size(name)
    method = create_method(name, backbone, classnames(N_CLASSES))
    x, labels = inputs(bench, method, batch_size)
    learnt = method.learnt_parameters()
    if not learnt:
        return {"method": name, "note": "no optimiser steps"}
    step = TrainStep(method, x, labels, PRECISION)
    row: Row = {
        "method": name,
        "consumes": method.consumes,
        "classes": N_CLASSES,
        "batch_size": batch_size,
        "learnt_scalars": sum(value.numel() for value in learnt.values()),
    }
    step()  # the first step may compute results that later steps reuse
    per_step = gflop(step)
    row |= {"gflop_per_step": per_step, "eager": speed_row(bench.time(step), batch_size, per_step, peak_tflops)}
    row |= memory(step, bench.device)
    if bench.device.type == "cuda":
        waits = waits_for_device(step)
        row["waits_for_device"] = waits
        if waits is None:
            row["cuda_graph"] = speed_row(bench.time(GraphStep(step)), batch_size, per_step, peak_tflops)
    row["learnt_dtypes"] = sorted({str(value.dtype) for value in learnt.values()})
    return row


def speed_row(seconds: float, batch_size: int, gflop_per_step: float, peak_tflops: float) -> Row:
    return {
        "seconds_per_step": seconds,
        "images_per_second": batch_size / seconds,
        "share_of_peak": gflop_per_step / seconds / 1000 / peak_tflops,
    }


def cocoop_1000(bench: Bench, backbone: FrozenCLIP) -> Row:
    """Measure the memory of CoCoOp's step on ImageNet's classes at batch 1."""
    method = create_method("cocoop", backbone, classnames(1000))
    x, labels = inputs(bench, method, 1)
    step = TrainStep(method, x, labels, PRECISION)
    seconds = bench.time(step)
    return {"classes": 1000, "batch_size": 1, "aim_mb": 8000, "seconds_per_step": seconds, **memory(step, bench.device)}


def compiled_step(bench: Bench, backbone: FrozenCLIP, name: str) -> Row:
    """Measure a step whose loss runs through torch.compile; the time to compile is separate."""
    batch_size = recipe_batch_size(name)
    method = create_method(name, backbone, classnames(N_CLASSES))
    step = TrainStep(method, *inputs(bench, method, batch_size), PRECISION, compiled=True)
    start = time.perf_counter()
    step()
    compiling = time.perf_counter() - start
    return {"method": name, "compile_seconds": compiling, "seconds_per_step": bench.time(step)}


def replica_steps(bench: Bench, backbone: FrozenCLIP, name: str) -> Row:
    """Measure a step of many trainings side by side against one of a single training."""
    batch_size = recipe_batch_size(name)
    methods = [create_method(name, backbone, classnames(N_CLASSES)) for _ in range(N_REPLICAS)]
    batches = [inputs(bench, method, batch_size) for method in methods]
    alone = bench.time(TrainStep(methods[0], *batches[0], PRECISION))
    x, labels = (torch.stack(parts) for parts in zip(*batches, strict=True))
    step = ReplicaStep(methods, x, labels, PRECISION)
    seconds = bench.time(step)
    return {
        "method": name,
        "replicas": N_REPLICAS,
        "aim_ratio": 4,
        "seconds_per_step_of_one": alone,
        "seconds_per_step_of_all": seconds,
        "ratio": seconds / alone,
        **memory(step, bench.device),
    }


class Results:
    """Sections of the JSON, printed and written at once, so that an interrupted run leaves its results."""

    def __init__(self, bench: Bench, out: Path | None):
        self.bench, self.out = bench, out
        self.content: Row = {
            "what": "adaptkit on one device: bf16 autocast, learnt tensors in fp32, random weights",
            "model": bench.size,
            "device": str(bench.device),
            "hardware": hardware(),
        }

    def add(self, name: str, measured: Callable[[], object], needs: float = 0) -> None:
        """Add a section, or the reason for its absence: less time than `needs` seconds, or an error of the device."""
        if self.bench.left() <= needs:
            value: object = f"skipped: {max(0.0, self.bench.left()):.0f} of {self.bench.seconds:g} seconds were left"
        else:
            try:
                value = measured()
            except RuntimeError as error:  # such as out of memory; the other sections go on
                value = f"failed: {str(error).splitlines()[0]}"
        self.content[name] = value
        self.content["seconds"] = time.perf_counter() - self.bench.started
        print(json.dumps({name: value}, indent=1), flush=True)
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.out.write_text(json.dumps(self.content, indent=1) + "\n")


def measure(bench: Bench, methods: list[str], out: Path | None) -> None:
    """Measure everything, section by section."""
    results = Results(bench, out)
    peak = matmul_peak(bench)
    tower = image_tower(bench, peak.tflops)
    results.add("matmul_peak", lambda: asdict(peak))
    results.add("image_tower", lambda: [asdict(row) for row in tower])
    backbone = bench.backbone()
    results.add("cocoop_1000", lambda: cocoop_1000(bench, backbone))
    for name in methods:
        results.add(f"step of {name}", partial(method_step, bench, backbone, name, peak.tflops))
    fastest_tower = max(row.images_per_second for row in tower)
    maple_seconds = min(0.6 * bench.left(), 0.5 * bench.seconds)
    results.add("maple_500", lambda: maple_500(backbone, PRECISION, maple_seconds))
    results.add("coop_table", lambda: coop_table(backbone, PRECISION, fastest_tower, 22 * bench.window))
    for name in REPLICATED:
        results.add(f"replicas of {name}", partial(replica_steps, bench, backbone, name))
    for name in COMPILED if bench.device.type == "cuda" else ():
        results.add(f"compiled step of {name}", partial(compiled_step, bench, backbone, name), needs=COMPILE_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--model", choices=("ViT-B-16", "tiny"), default="ViT-B-16")
    parser.add_argument("--methods", nargs="+", default=list_methods(), help="whose steps to measure")
    parser.add_argument("--seconds", type=float, default=450, help="after which no new measurement starts")
    parser.add_argument("--out", type=Path, help="JSON file; by default the committed one, for ViT-B-16 on CUDA only")
    args = parser.parse_args()
    torch.manual_seed(0)
    bench = Bench(args.model, torch.device(args.device), args.seconds, time.perf_counter())
    is_the_card = bench.device.type == "cuda" and args.model == "ViT-B-16"
    measure(bench, args.methods, args.out or (RESULTS / "gpu.json" if is_the_card else None))


if __name__ == "__main__":
    main()

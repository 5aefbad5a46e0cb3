"""Time two paths in turn in one process, count their memory and operations, and write JSON with the hardware."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import open_clip
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adaptkit.towers.linears import use_onednn

RESULTS = Path(__file__).parent / "results"
Step = Callable[[], object]


@dataclass(frozen=True)
class Comparison:
    """A fast path against a plain one: medians of interleaved runs, and the ratios plain / fast."""

    name: str
    plain_seconds: float
    fast_seconds: float
    time_ratio: float
    plain_gflop: float
    fast_gflop: float
    flop_ratio: float
    plain_kept_mb: float  # activations that the forward pass keeps for its backward pass
    fast_kept_mb: float
    memory_ratio: float | None


@dataclass(frozen=True)
class Cost:
    """Cost of one path."""

    seconds: float
    gflop: float
    kept_mb: float


def compared(name: str, plain: Cost, fast: Cost) -> Comparison:
    """Put two costs together with their ratios; if nothing is kept, as in evaluation, there is no memory ratio."""
    return Comparison(
        name,
        plain.seconds,
        fast.seconds,
        plain.seconds / fast.seconds,
        plain.gflop,
        fast.gflop,
        plain.gflop / fast.gflop,
        plain.kept_mb,
        fast.kept_mb,
        plain.kept_mb / fast.kept_mb if fast.kept_mb else None,
    )


def interleave(plain: Step, fast: Step, repeats: int) -> tuple[float, float]:
    """Median seconds of two steps that run in turn, after one warm-up each."""
    plain(), fast()
    plain_seconds, fast_seconds = medians((plain, fast), repeats)
    return plain_seconds, fast_seconds


def medians(steps: Sequence[Step], repeats: int) -> list[float]:
    """Median seconds of warm steps that run in turn."""
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats):
        for step, times in zip(steps, seconds, strict=True):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def gflop(step: Step) -> float:
    """Floating-point operations of a step, in units of 1e9; attention and linear layers count alike everywhere."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with use_onednn(False), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            step()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops() / 1e9


def kept_mb(forward: Step) -> float:
    """Megabytes that a forward pass keeps for its backward pass: each storage once, without parameters."""
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        owner = tensor if tensor._base is None else tensor._base
        if not isinstance(owner, torch.nn.Parameter):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()
    del output
    return sum(storages.values()) / 1e6


def hardware() -> dict[str, str | int]:
    """Description of the machine that runs the measurement."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "processor": model,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "python": platform.python_version(),
    }


def report(comparisons: Sequence[Comparison]) -> None:
    """Print one line per comparison."""
    for row in comparisons:
        print(
            f"{row.name:58s} time {row.plain_seconds:8.3f} -> {row.fast_seconds:7.3f} s {row.time_ratio:6.1f}x   "
            f"GFLOP {row.plain_gflop:8.1f} -> {row.fast_gflop:7.1f} {row.flop_ratio:5.1f}x   "
            f"kept {row.plain_kept_mb:8.0f} -> {row.fast_kept_mb:6.0f} MB {row.memory_ratio or 0:5.1f}x",
            flush=True,
        )


def save(name: str, description: str, comparisons: Sequence[Comparison]) -> None:
    """Write the comparisons to benchmarks/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    content = {"what": description, "hardware": hardware(), "comparisons": [asdict(row) for row in comparisons]}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"written to {RESULTS / f'{name}.json'}")


def write(name: str, description: str, comparisons: Sequence[Comparison]) -> None:
    """Print the comparisons and write them to benchmarks/results/<name>.json."""
    report(comparisons)
    save(name, description, comparisons)

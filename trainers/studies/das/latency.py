"""Latency of the image tower with skipped blocks and as it was loaded, measured in turn in one process."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit import FrozenCLIP, create_method
from adaptkit.wrappers import DASConfig

BATCHES = (1, 128)  # images per call
LOADED = "as loaded"
CLASSES = ("cat", "dog")


@dataclass(frozen=True)
class Latency:
    """Median latency of a call of the image tower, and of the tower as it was loaded, per batch size."""

    seconds: tuple[float, ...]  # one median for each batch size
    seconds_as_loaded: tuple[float, ...]
    rounds: int  # number of turns behind each median

    @property
    def cells(self) -> list[tuple[float, float]]:
        """Milliseconds per call and the change in percent, for each batch size."""
        pairs = zip(self.seconds, self.seconds_as_loaded, strict=True)
        return [(1e3 * ours, 100 * (ours / loaded - 1)) for ours, loaded in pairs]


def measure_latencies(
    backbone: FrozenCLIP,
    options: Mapping[str, DASConfig],
    batches: Sequence[int] = (),
    rounds: int = 7,
    calls_of_one: int = 20,
) -> dict[str, Latency]:
    """Measure the latency of the image tower under each of the options.

    Args:
        batches: images per call; 1 and 128 if empty.
        rounds: number of rounds, in each of which every tower has one turn.
        calls_of_one: calls per turn with a single image.
    """
    views = {
        name: create_method("zero_shot", backbone, CLASSES, wrap=[("das", own)]).eval() for name, own in options.items()
    }
    towers: dict[str, FrozenCLIP] = {LOADED: backbone, **{name: view.backbone for name, view in views.items()}}
    height, width = backbone.preprocess_cfg.image_size
    batches = batches or BATCHES
    medians: dict[int, dict[str, float]] = {}
    for batch in batches:
        images = torch.randn(batch, 3, height, width, device=backbone.device, dtype=backbone.dtype)
        calls = calls_of_one if batch == 1 else 1
        found: dict[str, list[float]] = {name: [] for name in towers}
        for tower in towers.values():
            _seconds(tower, images, 1)  # warm-up
        for _ in range(rounds):
            for name, tower in towers.items():
                found[name].append(_seconds(tower, images, calls))
        medians[batch] = {name: statistics.median(times) for name, times in found.items()}
    loaded = tuple(medians[batch][LOADED] for batch in batches)
    return {name: Latency(tuple(medians[batch][name] for batch in batches), loaded, rounds) for name in options}


@torch.no_grad()
def _seconds(tower: FrozenCLIP, images: Tensor, calls: int) -> float:
    """Seconds per call, the mean over `calls` calls."""
    start = time.perf_counter()
    for _ in range(calls):
        tower.encode_image(images)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    return (time.perf_counter() - start) / calls

"""How long the image tower takes with blocks skipped, and as it was loaded: in turn, in one process."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit import FrozenCLIP, create_method
from adaptkit.wrappers import DASConfig

BATCHES = (1, 128)  # images of a call
LOADED = "as loaded"
CLASSES = ("cat", "dog")


@dataclass(frozen=True)
class Latency:
    """Medians of one call of the image tower, and of the tower as it was loaded, for batches of 1 and 128 images."""

    seconds: tuple[float, ...]  # for each batch
    seconds_as_loaded: tuple[float, ...]
    rounds: int  # turns that the medians are of

    @property
    def cells(self) -> list[tuple[float, float]]:
        """Milliseconds and the change in percent, for each batch."""
        pairs = zip(self.seconds, self.seconds_as_loaded, strict=True)
        return [(1e3 * ours, 100 * (ours / loaded - 1)) for ours, loaded in pairs]


def measure_latencies(
    backbone: FrozenCLIP,
    options: Mapping[str, DASConfig],
    batches: Sequence[int] = (),
    rounds: int = 7,
    calls_of_one: int = 20,
) -> dict[str, Latency]:
    """The latency of the image tower under each of the options.

    Args:
        batches: images of a call; 1 and 128 where none are named.
        rounds: in each, every tower has its turn.
        calls_of_one: single images in a turn.
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
            _seconds(tower, images, 1)  # warm
        for _ in range(rounds):
            for name, tower in towers.items():
                found[name].append(_seconds(tower, images, calls))
        medians[batch] = {name: statistics.median(times) for name, times in found.items()}
    loaded = tuple(medians[batch][LOADED] for batch in batches)
    return {name: Latency(tuple(medians[batch][name] for batch in batches), loaded, rounds) for name in options}


@torch.no_grad()
def _seconds(tower: FrozenCLIP, images: Tensor, calls: int) -> float:
    """Of one call, the mean of some."""
    start = time.perf_counter()
    for _ in range(calls):
        tower.encode_image(images)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    return (time.perf_counter() - start) / calls

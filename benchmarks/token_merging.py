"""Latency of image towers that merge, prune or skip, against their multiply-accumulates.

    python -m benchmarks.token_merging [--batches 1,64] [--rounds 20,3] [--threads 1]

The embedded model, and a ViT-B/16 with random weights, whose latency is that of any other. Towers run in turn, and each
time is held against that of the tower as loaded in the same round. A round of 64 images takes minutes at ViT-B/16 size.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaptkit import FrozenCLIP, create_method, load_backbone
from adaptkit.layers.macs import image_shape, tower_macs
from adaptkit.towers.vision import VisionTower
from adaptkit.wrappers import DASConfig, TokenMergingConfig
from benchmarks.timing import RESULTS, hardware

NAME = "token_merging"
AS_LOADED = "as loaded"


@dataclass(frozen=True)
class Variant:
    """A view of a backbone, and what its image tower costs."""

    name: str
    view: FrozenCLIP
    macs: int  # multiply-accumulates of an image, all rows of every block

    @property
    def tower(self) -> VisionTower:
        return self.view.require_vit_blocks("the benchmark")

    def share(self, whole: "Variant") -> float:
        """Its multiply-accumulates in percent of another's."""
        return 100 * self.macs / whole.macs


def as_loaded(backbone: FrozenCLIP) -> Variant:
    return Variant(AS_LOADED, backbone, tower_macs(image_shape(backbone)))


def shortened(backbone: FrozenCLIP, name: str = "", **options: Any) -> Variant:
    """A tower with the options of token_merging."""
    config = TokenMergingConfig(**options)
    method = create_method("zero_shot", backbone, ["one"], wrap=[(NAME, config)]).eval()
    architecture = method.architecture()
    assert architecture is not None
    words = ", ".join(f"{key}={value}" for key, value in options.items())
    return Variant(name or words, method.innermost.backbone, architecture.macs["image"])


def skipping(backbone: FrozenCLIP, blocks: Sequence[int]) -> Variant:
    """A tower that skips blocks as DAS does, with an untrained stand-in in the place of each."""
    config = DASConfig(
        select="given", skip_vision=len(blocks), vision_blocks=tuple(blocks), skip_text=0, encoder="vision", kept="none"
    )
    method = create_method("zero_shot", backbone, ["one"], wrap=[("das", config)]).eval()
    architecture = method.architecture()
    assert architecture is not None
    name = f"DAS, {len(blocks)} blocks skipped"
    return Variant(name, method.innermost.backbone, architecture.macs["image"])


def mini_variants() -> list[Variant]:
    mini = load_backbone("adaptkit-mini")
    options = ({"r": 2}, {"r": 4}, {"r": 5}, {"mode": "prune"}, {"mode": "fold"})
    return [as_loaded(mini), *(shortened(mini, **each) for each in options), skipping(mini, (1, 4))]


def large_variants() -> list[Variant]:
    large = load_backbone("ViT-B-16-quickgelu", pretrained="random")
    options = ({"r": 8}, {"r": 13}, {"r": 16}, {"mode": "fold"})
    return [as_loaded(large), *(shortened(large, **each) for each in options), skipping(large, (2, 4, 7, 9))]


@torch.no_grad()
def milliseconds(variants: Sequence[Variant], images: Tensor, rounds: int) -> list[list[float]]:
    """Times of every variant in every round, after one warm-up each."""
    for variant in variants:
        variant.view.encode_image(images[:1])
    times: list[list[float]] = [[] for _ in variants]
    for _ in range(rounds):
        for variant, own in zip(variants, times, strict=True):
            start = time.perf_counter()
            variant.view.encode_image(images)
            own.append(1000 * (time.perf_counter() - start))
    return times


def rows_of(variants: Sequence[Variant], batch: int, rounds: int) -> list[dict[str, Any]]:
    """What a batch takes: for each variant its median, and its speed against the tower as loaded in each round."""
    height, width = variants[0].view.preprocess_cfg.image_size
    times = milliseconds(variants, torch.randn(batch, 3, height, width), rounds)
    return [
        {
            "backbone": variants[0].view.name,
            "tower": variant.name,
            "batch": batch,
            "ms": round(statistics.median(own), 2),
            "speed": [round(whole / mine, 4) for whole, mine in zip(times[0], own, strict=True)],
            "macs_percent": round(variant.share(variants[0]), 2),
        }
        for variant, own in zip(variants, times, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="1,64", help="images of a call")
    parser.add_argument("--rounds", default="20,3", help="rounds of each of the batches, three times as many if small")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows: list[dict[str, Any]] = []
    for variants, times in ((mini_variants(), 3), (large_variants(), 1)):
        for batch, rounds in zip(args.batches.split(","), args.rounds.split(","), strict=True):
            found = rows_of(variants, int(batch), times * int(rounds))
            rows += found
            for row in found:
                print(
                    f"{row['backbone']:20s} {row['tower']:24s} batch {row['batch']:3}: {row['ms']:9} ms, "
                    f"MACs {row['macs_percent']:6} %",
                    flush=True,
                )
    content = {"what": (__doc__ or "").splitlines()[0], "hardware": hardware(), "rows": rows}
    (RESULTS / f"{NAME}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

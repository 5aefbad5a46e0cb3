"""Measure the two aims for one H200: CoOp's base-to-novel table in 15 minutes, MaPLe on 500 classes in 4.

Both count optimiser steps on inputs that are already on the device. CoOp trains on cached features; the time to encode
the views of its training images is reported separately, since it depends on the number of views. MaPLe's images are
decoded and cropped beforehand, so only their normalisation is counted.
"""

from dataclasses import dataclass

import open_clip
import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, FrozenCLIP, create_method
from benchmarks.device import TrainStep, fastest, seconds_per_step, timed
from trainers.compute.precision import Precision

SHOTS, SEEDS = 16, 3
COOP_BATCH, COOP_EPOCHS, COOP_IMAGENET_EPOCHS = 32, 200, 50
POOL_VIEWS = 10  # views of every training image, if views are drawn from a pool
MAPLE_CLASSES, MAPLE_BATCH, MAPLE_EPOCHS = 500, 4, 5
MAPLE_IMAGES = 8000
CLASSES = {  # the eleven data sets' numbers of classes; half of them, rounded up, are base classes
    "imagenet": 1000,
    "caltech101": 100,
    "oxford_pets": 37,
    "stanford_cars": 196,
    "oxford_flowers": 102,
    "food101": 101,
    "fgvc_aircraft": 100,
    "sun397": 397,
    "dtd": 47,
    "eurosat": 10,
    "ucf101": 101,
}


@dataclass(frozen=True)
class CoOpRun:
    """One data set of the table: the amount of training for one seed."""

    base_classes: int
    epochs: int
    images: int

    @property
    def steps(self) -> int:
        return self.epochs * (self.images // COOP_BATCH)


def coop_runs(imagenet_epochs: int) -> dict[str, CoOpRun]:
    """The trainings of the table; CoOp's recipe has 50 epochs on ImageNet and 200 elsewhere."""
    return {
        name: CoOpRun(-(-n // 2), imagenet_epochs if name == "imagenet" else COOP_EPOCHS, SHOTS * -(-n // 2))
        for name, n in CLASSES.items()
    }


def coop_table(
    backbone: FrozenCLIP, precision: Precision, images_per_second: float, seconds: float
) -> dict[str, object]:
    """Estimate the seconds of all training steps from a short run on each data set.

    Args:
        images_per_second: speed of the frozen image tower, to estimate the encoding of the views.
        seconds: time to measure in, for all data sets together.
    """
    rows, step_seconds = [], {}
    for name, run in coop_runs(COOP_EPOCHS).items():
        names = open_clip.IMAGENET_CLASSNAMES[: run.base_classes]
        method = create_method("coop", backbone, names, ctx_init="a photo of a")
        features = torch.randn(COOP_BATCH, backbone.embed_dim, device=backbone.device)
        labels = torch.arange(COOP_BATCH, device=backbone.device) % run.base_classes
        step, how = fastest(TrainStep(method, features, labels, precision), backbone.device)
        step_seconds[name] = seconds_per_step(step, backbone.device, seconds / len(CLASSES))
        rows.append(
            {"dataset": name, "base_classes": run.base_classes, "seconds_per_step": step_seconds[name], "how": how}
        )
    totals = {}
    for label, epochs in (("recipe", COOP_IMAGENET_EPOCHS), ("200 epochs everywhere", COOP_EPOCHS)):
        runs = coop_runs(epochs)
        exact_views = SEEDS * sum(run.images * run.epochs for run in runs.values())
        pool_views = SEEDS * POOL_VIEWS * sum(run.images for run in runs.values())
        totals[label] = {
            "steps": SEEDS * sum(run.steps for run in runs.values()),
            "training_seconds": SEEDS * sum(run.steps * step_seconds[name] for name, run in runs.items()),
            "encoding_seconds_new_view_every_epoch": exact_views / images_per_second,
            f"encoding_seconds_pool_of_{POOL_VIEWS}_views": pool_views / images_per_second,
        }
    return {
        "what": f"CoOp base-to-novel, {len(CLASSES)} data sets x {SEEDS} seeds, {SHOTS} shots, batch {COOP_BATCH}, "
        "training steps on cached features; no decoding, no evaluation",
        "aim_seconds": 900,
        "extrapolated": True,
        "totals": totals,
        "datasets": rows,
    }


class ImagePool:
    """Decoded images (N, 3, H, W) uint8 on the device; `next_batch` writes a normalised batch into a step's input."""

    def __init__(self, backbone: FrozenCLIP, count: int, into: Tensor):
        device, cfg = backbone.device, backbone.preprocess_cfg
        self.images = torch.randint(256, (count, 3, *cfg.image_size), dtype=torch.uint8, device=device)
        self.mean = 255 * torch.tensor(cfg.mean, device=device)[:, None, None]
        self.std = 255 * torch.tensor(cfg.std, device=device)[:, None, None]
        self.into, self.start = into, 0

    def next_batch(self) -> None:
        batch = self.images[self.start : self.start + len(self.into)]
        self.start = (self.start + len(self.into)) % len(self.images)
        self.into.copy_((batch - self.mean) / self.std)


def maple_500(
    backbone: FrozenCLIP, precision: Precision, seconds: float, n_images: int = MAPLE_IMAGES
) -> dict[str, object]:
    """Time five epochs over 500 ImageNet classes: all 10,000 steps if `seconds` suffice, else some, extrapolated."""
    device = backbone.device
    method = create_method("maple", backbone, open_clip.IMAGENET_CLASSNAMES[:MAPLE_CLASSES])
    images = torch.empty(MAPLE_BATCH, 3, *backbone.preprocess_cfg.image_size, device=device)
    pool = ImagePool(backbone, n_images, images)
    pool.next_batch()
    labels = torch.arange(MAPLE_BATCH, device=device) % MAPLE_CLASSES
    step, how = fastest(TrainStep(method, images, labels, precision), device)

    def step_on_new_images() -> None:
        pool.next_batch()
        step()

    needed = MAPLE_EPOCHS * SHOTS * MAPLE_CLASSES // MAPLE_BATCH
    estimate = seconds_per_step(step_on_new_images, device, seconds / 20)
    steps = min(needed, max(1, int(0.9 * seconds / estimate)))
    per_step = timed(step_on_new_images, steps, device)
    return {
        "what": f"MaPLe, {MAPLE_CLASSES} ImageNet classes, {SHOTS} shots, {MAPLE_EPOCHS} epochs, batch {MAPLE_BATCH}; "
        "images decoded and cut out beforehand",
        "aim_seconds": 240,
        "steps": needed,
        "steps_run": steps,
        "extrapolated": steps < needed,
        "seconds": needed * per_step,
        "seconds_per_step": per_step,
        "how": how,
        "learnt_tensors_finite": is_finite(method),
    }


def is_finite(method: AdaptedCLIP) -> bool:
    return all(bool(value.isfinite().all()) for value in method.learnt_parameters().values())

"""A method with a calibration, from seeded logits instead of images."""

import torch

from adaptkit import AdaptedCLIP
from adaptkit.artefacts.saving import learnt_sha256
from adaptkit.calibration.calibration import fit_calibration


def calibrated(method: AdaptedCLIP, images: int = 60) -> AdaptedCLIP:
    """Give a method a calibration by logits that are right for most of so many images, too sharp by about 3."""
    count = len(method.classes)
    labels = torch.arange(images) % count
    generator = torch.Generator().manual_seed(0)
    logits = 6.0 * torch.nn.functional.one_hot(labels, count) + 4 * torch.randn(images, count, generator=generator)
    found = fit_calibration(logits, labels, method.classes, "seeded logits", leave_classes_out=count >= 3)
    method.calibration = found.for_learnt(learnt_sha256(method))
    return method

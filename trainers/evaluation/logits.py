"""Logits of a method on test images, and its score on the kind of input that it consumes."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from adaptkit.contract.method import AdaptedCLIP
from trainers.compute.precision import Precision, autocast
from trainers.evaluation.scoring import Floats, Ints, Score, score

EVAL_BATCH = 1024  # Rows of features per call.


@torch.no_grad()
def predict(
    method: AdaptedCLIP, batches: Iterable[tuple[Tensor, Tensor]], precision: Precision = "fp32"
) -> tuple[Floats, Ints]:
    """Logits (N, C) and labels (N,) of all batches; class texts are encoded once unless an image changes them."""
    device = method.backbone.device
    method.eval()
    rows: list[Tensor] = []
    labels: list[Tensor] = []
    with method.encode_classes_once(), autocast(device, precision):
        for logits in method.logits_in_order(_inputs(batches, labels, device)):
            rows.append(logits.float().cpu())
    if not sum(len(y) for y in labels):
        raise ValueError("there are no test images; the split's test list is empty")
    return torch.cat(rows).double().numpy(), torch.cat(labels).numpy()


def _inputs(batches: Iterable[tuple[Tensor, Tensor]], labels: list[Tensor], device: torch.device) -> Iterator[Tensor]:
    """The inputs of the batches on a device; their labels are put into a list on the way."""
    for x, y in batches:
        labels.append(y.cpu())
        yield x.to(device, non_blocking=True)


def evaluate(method: AdaptedCLIP, x: Tensor, labels: Tensor, precision: Precision = "fp32") -> Score:
    """Score of a method on N rows of its kind of input, with their labels (N,)."""
    return score(*predict(method, _in_batches(x, labels), precision))


def _in_batches(x: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(x.split(EVAL_BATCH), labels.split(EVAL_BATCH), strict=True)

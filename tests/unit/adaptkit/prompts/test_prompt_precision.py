"""Prompt methods in other precisions: learnt tensors and their gradients stay fp32."""

from contextlib import nullcontext

import pytest
import torch

from adaptkit import create_method
from tests.helpers.models import build

METHODS = (
    "coop",
    "cocoop",
    "kgcoop",
    "prograd",
    "vpt",
    "ivlp",
    "maple",
    "promptsrc",
    "tcp",
    "mmrl",
    "ctp_tft",
    "promptkd",
)


def step(name, backbone, images, labels, classes, autocast):
    """The loss of one backward pass, after it."""
    torch.manual_seed(0)
    method = create_method(name, backbone, classes)
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        x = images.to(backbone.dtype)
        loss = method.backward(method.consume(x), labels)
    for parameter in method.learnt_parameters().values():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()
    return float(loss)


@pytest.mark.parametrize("name", METHODS)
def test_lower_and_higher_precision_give_about_the_same_loss(name, tiny_clip, batch, classes):
    expected = step(name, tiny_clip, *batch, classes, autocast=False)
    assert step(name, tiny_clip, *batch, classes, autocast=True) == pytest.approx(expected, rel=0.05, abs=0.1)
    assert step(name, build("clip_vit", torch.bfloat16), *batch, classes, False) == pytest.approx(expected, 0.05, 0.1)
    assert step(name, build("clip_vit", torch.float64), *batch, classes, False) == pytest.approx(expected, rel=1e-4)

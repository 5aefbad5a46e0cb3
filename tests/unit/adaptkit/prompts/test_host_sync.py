"""A training step of a prompt method never makes the host wait for the device: nothing in it looks at values.

The operations that would are known by name, so this needs no CUDA device; tests/gpu asks the device itself.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import adaptkit.backbone.images
from adaptkit import create_method, list_methods, method_class

WAITING = {"nonzero", "_local_scalar_dense", "masked_select", "is_nonzero", "equal", "unique_consecutive", "_unique2"}
PROMPT_METHODS = [name for name in list_methods() if method_class(name).__module__.startswith("adaptkit.prompts.")]


class NoWaiting(TorchDispatchMode):
    """Fails where what the host does next depends on the values of a tensor, and where a mask picks elements."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        picks = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
        assert name not in WAITING, f"{func} waits for the device"
        assert all(pick is None or pick.dtype != torch.bool for pick in picks), f"{func} counts what a mask picks"
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def _as_on_a_device(monkeypatch):
    """Leave out the look at the numbers of images, which is for images on the CPU alone."""
    monkeypatch.setattr(adaptkit.backbone.images, "check_numbers", lambda images: None)


@pytest.mark.parametrize("name", PROMPT_METHODS)
def test_a_step_never_looks_at_values(name, tiny_clip, classes, batch):
    images, labels = batch
    method = create_method(name, tiny_clip, classes)
    x = method.consume(images).detach()
    method.backward(x, labels)  # the first step may
    with NoWaiting():
        method.backward(x, labels)


def test_a_step_in_chunks_of_classes_never_looks_at_values(tiny_clip, batch):
    _, labels = batch
    method = create_method("coop", tiny_clip, [f"class {n}" for n in range(200)])
    method.context.encoder.memory_budget = 2**20
    assert len(method.context.encoder._chunks(1)) > 1
    features = torch.randn(len(labels), tiny_clip.embed_dim)
    method.backward(features, labels)
    with NoWaiting():
        method.backward(features, labels)

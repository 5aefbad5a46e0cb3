"""Frozen linear layers on oneDNN: the same numbers, the same gradients, and only where they belong."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adaptkit.towers.linears import FrozenLinear, linear, onednn_enabled, onednn_helps, swap_frozen_linears, use_onednn

needs_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch build has no oneDNN linear"
)


@needs_onednn
@pytest.mark.parametrize("with_bias", [True, False])
def test_values_and_gradients_equal_the_default(with_bias):
    weight, bias = torch.randn(256, 320), torch.randn(256) if with_bias else None
    x = torch.randn(2, 7, 320, requires_grad=True)
    probe = torch.randn(2, 7, 256)
    with use_onednn(True):
        ours = linear(x, weight, bias)
        assert ours.grad_fn.name().startswith("_FrozenLinear")
        (our_gradient,) = torch.autograd.grad((ours * probe).sum(), x)
    theirs = F.linear(x, weight, bias)
    (their_gradient,) = torch.autograd.grad((theirs * probe).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-5, atol=1e-4)


@needs_onednn
def test_a_weight_that_was_written_to_is_transposed_anew():
    weight, x = torch.randn(256, 256), torch.randn(3, 256, requires_grad=True)
    with use_onednn(True):
        torch.autograd.grad(linear(x, weight).sum(), x)
        weight.mul_(2)
        (gradient,) = torch.autograd.grad(linear(x, weight).sum(), x)
    torch.testing.assert_close(gradient, weight.sum(0).expand(3, -1), rtol=1e-4, atol=1e-4)


@needs_onednn
def test_parts_of_a_weight_do_not_mix():
    weight, x = torch.randn(512, 256), torch.randn(3, 256, requires_grad=True)
    with use_onednn(True):
        for part in (slice(0, 256), slice(256, 512)):
            (gradient,) = torch.autograd.grad(linear(x, weight[part]).sum(), x)
            torch.testing.assert_close(gradient, weight[part].sum(0).expand(3, -1), rtol=1e-4, atol=1e-4)


@needs_onednn
@pytest.mark.parametrize(
    ("weight", "x"),
    [
        (torch.randn(256, 256, requires_grad=True), torch.randn(2, 256)),
        (torch.randn(256, 256, dtype=torch.float64), torch.randn(2, 256, dtype=torch.float64)),
        (torch.randn(8, 8), torch.randn(2, 8)),
    ],
    ids=["learnt weight", "double", "small"],
)
def test_what_does_not_belong_there_takes_the_default(weight, x):
    with use_onednn(True):
        assert torch.equal(linear(x, weight), F.linear(x, weight))


def test_the_processor_decides_unless_told():
    assert onednn_enabled() == onednn_helps()
    with use_onednn(False):
        assert not onednn_enabled()
    assert onednn_enabled() == onednn_helps()


def test_swapped_layers_share_parameters_and_names():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2, bias=False)))
    state, x = model.state_dict(), torch.randn(3, 4)
    before = model(x)
    swap_frozen_linears(model)
    assert isinstance(model[0], FrozenLinear)
    assert isinstance(model[1][0], FrozenLinear)
    assert {name: value.data_ptr() for name, value in model.state_dict().items()} == {
        name: value.data_ptr() for name, value in state.items()
    }
    assert torch.equal(model(x), before)


def test_a_compiler_takes_the_plain_way_without_a_break():
    layer = FrozenLinear(nn.Linear(256, 256).requires_grad_(False))
    x = torch.randn(3, 256)
    torch._dynamo.reset()
    with use_onednn(torch.backends.mkldnn.is_available()):
        compiled = torch.compile(layer, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), layer(x))
    torch._dynamo.reset()

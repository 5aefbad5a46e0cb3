"""QuickGELU that keeps one tensor: the same function and gradient, half the bytes."""

import pytest
import torch
from open_clip.transformer import QuickGELU

from adaptkit.towers.activations import LeanQuickGELU
from tests.helpers.models import build
from tests.unit.adaptkit.towers.test_flops import kept_bytes


def value_and_gradient(activation, x):
    x = x.clone().requires_grad_()
    y = activation(x)
    y.backward(torch.linspace(-1, 1, len(x), dtype=x.dtype))
    return y, x.grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_is_quick_gelu_bit_for_bit_and_so_is_its_gradient(dtype):
    x = torch.linspace(-60, 60, 2401, dtype=dtype)
    ours, theirs = value_and_gradient(LeanQuickGELU(), x), value_and_gradient(QuickGELU(), x)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


def test_it_compiles_and_differentiates_twice():
    x = torch.linspace(-3, 3, 50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(LeanQuickGELU(), x)
    exported = torch.export.export(LeanQuickGELU(), (x,)).module()
    torch.testing.assert_close(exported(x), QuickGELU()(x))


def test_it_keeps_its_input_and_nothing_else():
    x = torch.randn(100, requires_grad=True)
    assert kept_bytes(lambda: LeanQuickGELU()(2 * x)) == 400
    assert kept_bytes(lambda: QuickGELU()(2 * x)) == 800


def test_a_backbone_has_no_other():
    activations = [module for module in build("clip_vit").modules() if isinstance(module, QuickGELU)]
    assert len(activations) == 6
    assert all(type(module) is LeanQuickGELU for module in activations)

"""Every method is an ordinary module: copied, moved, saved and compiled as any other, with the same logits."""

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import AdaptedCLIP, FrozenCLIP, Support, create_method, list_methods
from tests.conftest import CLASSES
from tests.helpers.models import consumed

LABELS = torch.arange(len(CLASSES))
# One for each way into CLIP: a token tree, both towers' prompts, layers inside the towers, features.
COMPILED = ("coop", "maple", "clip_lora", "tip_adapter_f")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(len(CLASSES), 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def ready(name: str, backbone: FrozenCLIP, images: Tensor) -> AdaptedCLIP:
    method = create_method(name, backbone, CLASSES)
    with torch.no_grad():
        method.prepare(Support(consumed(method, images), LABELS))
    return method.eval()


def move(method: AdaptedCLIP, images: Tensor) -> None:
    """One large step, so that what is learnt differs from where it starts."""
    x = consumed(method, images)
    method.backward(x, LABELS)
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            if parameter.grad is not None:
                parameter -= parameter.grad.sign() * 0.1
                parameter.grad = None


@pytest.mark.parametrize("name", list_methods())
def test_a_deep_copy_is_equal_and_learns_alone(name, tiny_clip, images):
    method = ready(name, tiny_clip, images)
    copied = copy.deepcopy(method)
    with torch.no_grad():
        before = method(images)
        assert torch.equal(copied(images), before)
    move(copied, images)
    with torch.no_grad():
        assert torch.equal(method(images), before)
        assert torch.equal(copied(images), before) == (not method.learnt_parameters())


@pytest.mark.parametrize("name", list_methods())
def test_a_state_dict_restores_it(name, tiny_clip, images):
    method = ready(name, tiny_clip, images)
    move(method, images)
    torch.manual_seed(1)  # another start
    other = ready(name, tiny_clip, images)
    other.load_state_dict(method.state_dict())
    with torch.no_grad():
        assert torch.equal(other(images), method(images))


@pytest.mark.parametrize("name", list_methods())
def test_it_moves_to_another_type_with_its_backbone(name, tiny_clip, images):
    method = copy.deepcopy(ready(name, tiny_clip, images))
    with torch.no_grad():
        expected = method(images)
        logits = method.to(torch.float64)(images.double())
    assert logits.dtype == torch.float64
    tolerance = 0.05 if method.sees else 1e-4  # a first step of AdamW goes by the sign of what may be a rounding
    torch.testing.assert_close(logits.float(), expected, rtol=1e-4, atol=tolerance)
    floating = [tensor for tensor in method.state_dict().values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floating} == {torch.float64}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_without_a_break_it_gives_the_same_logits(name, tiny_clip, images, fresh_compiler):
    method = ready(name, tiny_clip, images)
    compiled = torch.compile(method, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), method(images), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_methods())
def test_every_method_compiles(name, tiny_clip, images, fresh_compiler):
    method = ready(name, tiny_clip, images)
    compiled = torch.compile(method, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), method(images), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coop", "maple", "clip_lora"])
def test_gradients_through_a_compiled_method_are_the_same(name, tiny_clip, images, fresh_compiler):
    method = ready(name, tiny_clip, images)
    found = []
    for forward in (method, torch.compile(method, backend="aot_eager")):
        method.zero_grad()
        F.cross_entropy(forward(images), LABELS).backward()
        found.append({key: parameter.grad.clone() for key, parameter in method.learnt_parameters().items()})
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, rtol=1e-4, atol=1e-5)

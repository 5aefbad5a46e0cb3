"""On a CUDA device: the CPU's results, steps that never wait for the device, and learnt tensors that stay fp32.

python -m pytest -m gpu tests/gpu
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, FrozenCLIP, Support, create_method, list_methods, method_class
from benchmarks.device import GraphStep, TrainStep, memory, waits_for_device
from benchmarks.models import as_backbone, classnames, random_clip
from tests.conftest import CLASSES
from tests.helpers.models import build
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no CUDA device"),
]
CUDA = torch.device("cuda")
PROMPT_METHODS = [name for name in list_methods() if method_class(name).__module__.startswith("adaptkit.prompts.")]
LOGITS = 2e-3  # absolute, of logits up to 100: sums of fp32 products in another order
GRADIENTS = 2e-3  # of a gradient's norm


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    """No TF32, which torch allows in convolutions by default."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


@pytest.fixture(scope="module")
def backbones() -> dict[str, FrozenCLIP]:
    """Equal weights on both devices."""
    return {"cpu": build("clip_vit"), "cuda": build("clip_vit").to(CUDA)}


def prepared(name: str, backbone: FrozenCLIP) -> tuple[AdaptedCLIP, Tensor, Tensor]:
    """A method that saw a support set, and a batch of what it consumes; the same on every device."""
    torch.manual_seed(0)
    method = create_method(name, backbone, CLASSES)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(len(CLASSES)).repeat(2)
    shapes = {"features": (backbone.embed_dim,), "tokens": (17, backbone.vision_width), "images": (3, 32, 32)}
    shape = shapes[method.consumes]
    x = torch.randn(len(labels), *shape, generator=generator).to(backbone.device)
    labels = labels.to(backbone.device)
    method.prepare(Support(x, labels))
    return method, x, labels


@pytest.mark.parametrize("name", list_methods())
def test_cuda_computes_what_the_cpu_computes(name, backbones):
    expected, x, labels = prepared(name, backbones["cpu"])
    method, cuda_x, cuda_labels = prepared(name, backbones["cuda"])
    method.load_learnt_state(expected.learnt_state())
    expected.eval(), method.eval()  # dropout differs between devices
    torch.testing.assert_close(method.logits(cuda_x).cpu(), expected.logits(x), rtol=0, atol=LOGITS)
    loss, cuda_loss = expected.backward(x, labels), method.backward(cuda_x, cuda_labels)
    torch.testing.assert_close(cuda_loss.cpu(), loss, rtol=1e-4, atol=LOGITS)
    for learnt, own in zip(expected.learnt_parameters().values(), method.learnt_parameters().values(), strict=True):
        assert own.device.type == "cuda"
        assert (own.grad is None) == (learnt.grad is None)
        if learnt.grad is not None:
            assert (own.grad.cpu() - learnt.grad).norm() <= GRADIENTS * learnt.grad.norm() + 1e-6


@pytest.mark.parametrize("name", list_methods())
def test_training_under_autocast_keeps_learnt_tensors_in_fp32(name, backbones):
    method, x, labels = prepared(name, backbones["cuda"])
    before = method.learnt_state()
    log = train(method, [(x, labels)], OptimConfig(epochs=3, warmup_epochs=0), precision="bf16")
    learnt = method.learnt_parameters()
    assert all(value.dtype == torch.float32 for value in learnt.values())
    assert all(value.isfinite().all() for value in learnt.values())
    assert all(loss == loss for loss in log.losses)  # no NaN
    if learnt:
        assert any(not torch.equal(value, before[key]) for key, value in learnt.items())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", PROMPT_METHODS)
def test_a_step_never_waits_for_the_device(name, precision, backbones):
    step = TrainStep(*prepared(name, backbones["cuda"]), precision)
    step()  # the first step may
    assert waits_for_device(step) is None


@pytest.mark.parametrize("name", PROMPT_METHODS)
def test_a_captured_step_learns_what_a_plain_step_learns(name, backbones):
    plain, x, labels = prepared(name, backbones["cuda"])
    captured, _, _ = prepared(name, backbones["cuda"])
    step, captured_step = TrainStep(plain, x, labels, "fp32"), TrainStep(captured, x.clone(), labels, "fp32")
    captured_step()
    graph = GraphStep(captured_step)  # warms up by three more steps
    graph()
    for _ in range(5):
        step()
    for key, value in plain.learnt_state().items():
        torch.testing.assert_close(captured.learnt_state()[key], value, rtol=1e-4, atol=1e-6)


def test_cocoop_on_1000_classes_stays_below_8_gb():
    backbone = as_backbone(random_clip("ViT-B-16"), "ViT-B-16").to(CUDA)
    method = create_method("cocoop", backbone, classnames(1000))
    features = torch.randn(1, backbone.embed_dim, device=CUDA)
    step = TrainStep(method, features, torch.zeros(1, dtype=torch.int64, device=CUDA), "fp32")
    step()
    assert memory(step, CUDA)["peak_mb"] < 8000

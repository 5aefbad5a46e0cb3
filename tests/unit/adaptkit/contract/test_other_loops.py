"""Methods inside other people's training code: data-parallel wrappers, accelerate, modules around modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from adaptkit import AdaptedCLIP, create_method
from tests.conftest import CLASSES
from tests.helpers.models import build

LABELS = torch.arange(len(CLASSES)).repeat(2)[:8]


def make(name: str) -> AdaptedCLIP:
    torch.manual_seed(0)
    return create_method(name, build("clip_vit"), CLASSES)


def some_images() -> Tensor:
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def gradients(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    F.cross_entropy(model(images), labels).backward()
    found = {name.removeprefix("module."): p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: gradient.clone() for name, gradient in found.items()}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "name", ["coop", "cocoop", "maple", "promptsrc", "mmrl", "clip_lora", "clip_adapter", "taskres"]
)
def test_distributed_data_parallel_wraps_it(name, alone):
    plain, wrapped = gradients(make(name), some_images(), LABELS), DistributedDataParallel(make(name))
    parallel = gradients(wrapped, some_images(), LABELS)
    assert plain.keys() == parallel.keys()
    for key, gradient in plain.items():
        torch.testing.assert_close(parallel[key], gradient)


def half_of_the_batch(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    half = slice(4 * rank, 4 * rank + 4)
    found = gradients(DistributedDataParallel(make("maple")), some_images()[half], LABELS[half])
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_a_batch(tmp_path):
    mp.spawn(half_of_the_batch, args=(tmp_path,), nprocs=2)
    whole = gradients(make("maple"), some_images(), LABELS)
    for rank in (0, 1):
        for key, gradient in torch.load(tmp_path / f"{rank}.pt", weights_only=True).items():
            torch.testing.assert_close(gradient, whole[key], rtol=1e-3, atol=1e-5)


def learns(step: Callable[[], float]) -> None:
    losses = [step() for _ in range(4)]
    assert losses[-1] < losses[0]


def test_an_accelerate_loop_trains_it():
    accelerate = pytest.importorskip("accelerate")
    method = make("maple")
    optimizer = torch.optim.AdamW(method.learnt_parameters().values(), lr=0.01)
    loader = DataLoader(TensorDataset(some_images(), LABELS), batch_size=8)
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimizer, loader = accelerator.prepare(method, optimizer, loader)

    def step() -> float:
        ((images, labels),) = loader
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        accelerator.backward(loss)
        optimizer.step()
        return loss.item()

    learns(step)
    assert accelerator.unwrap_model(model) is method
    assert not any(parameter.requires_grad for parameter in method.backbone.parameters())


class LightningLike(nn.Module):
    """What a LightningModule is to its trainer: a module with a step and an optimiser."""

    def __init__(self, method: AdaptedCLIP):
        super().__init__()
        self.method = method

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.method.loss(*batch)  # with the method's own regularisers

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW((p for p in self.parameters() if p.requires_grad), lr=0.001)


def test_a_module_around_it_trains_it_and_its_state_carries_over():
    module = LightningLike(make("promptsrc")).train()
    optimizer = module.configure_optimizers()

    def step() -> float:
        optimizer.zero_grad()
        loss = module.training_step((some_images(), LABELS))
        loss.backward()
        optimizer.step()
        return loss.item()

    learns(step)
    assert not module.method.backbone.training
    other = LightningLike(make("promptsrc"))
    other.load_state_dict(module.state_dict())
    with torch.no_grad():
        assert torch.equal(other.eval().method(some_images()), module.eval().method(some_images()))

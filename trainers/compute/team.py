"""Processes that train one method together, each on its rows of every batch: accelerate's DDP around the loss.

With n of the N rows of a batch in a process, its loss counts n / N times the number of processes, so that the mean that
DDP takes of the gradients is the gradient of the whole batch, whether its rows divide evenly or not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adaptkit.contract.method import AdaptedCLIP
from trainers.compute.precision import Precision
from trainers.compute.seeds import derived_seed

if TYPE_CHECKING:
    from accelerate import Accelerator

WAIT = timedelta(days=7)  # collective calls wait this long, because one process tests while the others are idle


@dataclass(frozen=True)
class Team:
    """This process's place among the processes that train together; alone by default."""

    rank: int = 0
    count: int = 1
    accelerator: Accelerator | None = field(default=None, compare=False)

    @property
    def leads(self) -> bool:
        """Whether this process is the leader: it tests, writes and keeps the time."""
        return self.rank == 0

    def share(self, start: int, end: int) -> tuple[int, int]:
        """Start and end of this process's rows of a batch.

        Raises:
            ValueError: if there are fewer rows than processes.
        """
        size = end - start
        if size < self.count:
            raise ValueError(
                f"a batch of {size} cannot be shared by {self.count} processes; raise OPTIM.BATCH_SIZE, or lower "
                "--processes"
            )
        return start + size * self.rank // self.count, start + size * (self.rank + 1) // self.count

    def trainee(self, method: AdaptedCLIP, *, idle_tensors: bool = False) -> Trainee:
        """Wrap the method so that its gradients are those of the whole batch; alone, it only forwards calls.

        Args:
            idle_tensors: whether some learnt tensors have no gradient in some steps.

        Raises:
            ValueError: if the method makes its gradients itself, because those are no mean over the batch, or needs
                all images of a batch in one process.
        """
        if self.accelerator is None:
            return Trainee(method)
        if "backward" in method.provides:
            raise ValueError(f"{type(method).__name__} makes its gradients itself; train it with --processes 1")
        if method.needs_whole_batches:
            raise ValueError(f"{type(method).__name__} normalises over whole batches; train it with --processes 1")
        return SharedTrainee(method, self.accelerator, idle_tensors)

    def own_random_numbers(self) -> None:
        """Reseed this process, so that its random numbers, such as dropout's, differ from those of the others."""
        if not self.leads:
            torch.manual_seed(derived_seed("rank", torch.initial_seed() >> 1, self.rank))

    def agree(self, decision: bool) -> bool:
        """Broadcast the leader's decision and return it in every process."""
        if self.accelerator is None:
            return decision
        told = torch.tensor([decision], dtype=torch.int64)
        dist.broadcast(told, src=0)
        return bool(told)

    def gather(self, own: Tensor) -> Tensor:
        """Collect an equally shaped CPU tensor from every process: (processes, ...)."""
        if self.accelerator is None:
            return own[None]
        rows = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(rows, own)
        return torch.stack(rows)


ALONE = Team()


class Trainee:
    """A method in the form that the training loop calls: `backward(x, labels)`, with places where an objective asks."""

    def __init__(self, method: AdaptedCLIP):
        self.method = method

    def backward(self, x: Tensor, labels: Tensor, *places: Tensor) -> Tensor:
        """Leave the gradients of one batch in `.grad` and return the loss, detached."""
        if not places:
            return self.method.backward(x, labels)
        loss = self.method.loss(x, labels, *places)  # of a method that an objective trains
        if loss.requires_grad:
            loss.backward()
        return loss.detach()


class SharedTrainee(Trainee):
    """A method whose every batch is shared by several processes."""

    def __init__(self, method: AdaptedCLIP, accelerator: Accelerator, idle_tensors: bool = False):
        from accelerate import DistributedDataParallelKwargs

        super().__init__(method)
        self.accelerator = accelerator
        loss = _Loss(method)
        # Frozen parameters and buffers are equal in every process, so DDP need not send them.
        frozen = [name for name, parameter in loss.named_parameters() if not parameter.requires_grad]
        buffers = [name for name, _ in loss.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(loss, [*frozen, *buffers])
        accelerator.free_memory()  # release the model of the previous run
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=idle_tensors)
        self.loss = accelerator.prepare_model(loss)

    def backward(self, x: Tensor, labels: Tensor, *places: Tensor) -> Tensor:
        """Leave the gradients of the whole batch in `.grad` and return the loss of the whole batch, detached."""
        rows = torch.tensor(float(len(labels)), device=x.device)
        weight = rows / self.accelerator.reduce(rows.clone(), "mean")
        loss = self.loss(x, labels, *places) * weight
        self.accelerator.backward(loss)
        return self.accelerator.reduce(loss.detach().clone(), "mean")


class _Loss(nn.Module):
    """A module whose forward pass is the method's loss, because DDP hooks into the forward pass."""

    def __init__(self, method: AdaptedCLIP):
        super().__init__()
        self.method = method

    def forward(self, x: Tensor, labels: Tensor, *places: Tensor) -> Tensor:
        return self.method.loss(x, labels, *places)


def join_team(rank: int, count: int, meeting: Path, device: torch.device, precision: Precision) -> Team:
    """Meet the other processes and return this one's place when all have arrived.

    Args:
        meeting: a file that does not exist yet, the same path for all processes.
    """
    from accelerate import Accelerator

    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", count), ("LOCAL_WORLD_SIZE", count)):
        os.environ[name] = str(value)
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # otherwise accelerate sets its own number
    on_cuda = device.type == "cuda"
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
        dist.init_process_group(backend, init_method=meeting.as_uri(), rank=rank, world_size=count, timeout=WAIT)
    mixed = "bf16" if precision == "bf16" else "no"
    return Team(rank, count, Accelerator(cpu=not on_cuda, mixed_precision=mixed))

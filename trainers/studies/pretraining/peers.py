"""Processes that train one model together, each on its share of every batch.

On a few busy CPU cores one thread per process is faster than threads within one process: processes meet three times
in a step instead of at every operation, and none waits for another that the system has suspended.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn


@dataclass(frozen=True)
class Peers:
    """This process's place among `count` processes; by default it is alone, and nothing is exchanged."""

    rank: int = 0
    count: int = 1

    def share(self, size: int) -> slice:
        """The slice of this process's rows in a batch of `size`.

        Raises:
            ValueError: if the batch does not divide evenly.
        """
        if size % self.count:
            raise ValueError(f"a batch of {size} cannot be shared evenly by {self.count} processes; change one of them")
        rows = size // self.count
        return slice(self.rank * rows, (self.rank + 1) * rows)

    def gather(self, own: Tensor) -> Tensor:
        """All peers' rows in order: (B / count, D) -> (B, D); gradients flow to this process's own rows."""
        if self.count == 1:
            return own
        rows = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(rows, own.detach().contiguous())
        rows[self.rank] = own
        return torch.cat(rows)

    def shared(self, parameter: Tensor) -> Tensor:
        """Wrap a parameter that every peer applies to the whole batch, so that its gradient is divided among them."""
        return parameter / self.count + parameter.detach() * (1 - 1 / self.count)

    def sum_gradients(self, model: nn.Module) -> None:
        """Replace each gradient by its sum over the peers."""
        if self.count == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def agree(self, value: float) -> float:
        """Broadcast the first process's value, such as its clock, to all."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(told, src=0)
        return float(told)


def run_peers(work: Callable[[Peers], None], count: int) -> None:
    """Run `work`, which must be picklable, in `count` processes with one thread each; a single one runs right here.

    Raises:
        torch.multiprocessing.ProcessRaisedException: if a process fails; the others are ended.
    """
    if count == 1:
        work(Peers())
        return
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_run_one, args=(work, count, Path(folder) / "meeting"), nprocs=count)


def _run_one(rank: int, work: Callable[[Peers], None], count: int, meeting: Path) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=count)
    try:
        work(Peers(rank, count))
    finally:
        dist.destroy_process_group()

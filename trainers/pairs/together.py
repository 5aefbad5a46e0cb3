"""Processes that train on the same batches of pairs: each encodes its rows, and all see the features of all."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as mp

from adaptkit.backbone.devices import choose_device
from trainers.compute.precision import choose_precision
from trainers.compute.team import join_team
from trainers.launchers.local import fresh_processes
from trainers.pairs.main import tune
from trainers.pairs.result import TuneRequest


def tune_together(request: TuneRequest, processes: int) -> None:
    """Run a training in several processes; the first one writes what there is to write.

    Raises:
        torch.multiprocessing.ProcessRaisedException: if a process fails; the others are ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            _work,
            args=(request, processes, Path(folder) / "meeting"),
            nprocs=processes,
            start_method=fresh_processes().get_start_method(),
        )


def _work(rank: int, request: TuneRequest, count: int, meeting: Path) -> None:
    device = choose_device(request.device)
    if device.type == "cuda" and device.index is None:
        device = choose_device(f"cuda:{rank}")
    team = join_team(rank, count, meeting, device, choose_precision("auto", device))

    def tell(message: str) -> None:
        if team.leads:
            print(message, file=sys.stderr)

    tune(replace(request, device=str(device)), tell, team)
    dist.barrier()  # A process that left while another still works would end with an error now and then.
    dist.destroy_process_group()

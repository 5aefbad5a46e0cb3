"""The runs of a plan as jobs for a launcher, and the worker that performs them."""

import math
import os
import uuid
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from datasets_fewshot.store.claims import Claim
from trainers.bench.plan import Kind, Plan, open_bench, plan
from trainers.compute.team import join_team
from trainers.config.settings import BenchConfig
from trainers.config.values import ConfigError
from trainers.launchers import Event, InProcess, Job, Launcher, Local, Place, Tell
from trainers.launchers.base import CLAIM_FILE, Perform, held
from trainers.launchers.ray import Ray
from trainers.launchers.slurm import Slurm
from trainers.launchers.together import Together
from trainers.runs.data import Bench
from trainers.runs.execute import assist, execute, learn_group
from trainers.runs.identity import Needs, Run
from trainers.runs.records import RECORD_FILE, ResultRecord, read_record
from trainers.runs.replicas import kind_of
from trainers.training.checkpoints import CHECKPOINTS, discard_checkpoints
from trainers.training.few_shot import DivergedError

WORKERS_ELSEWHERE = 4  # Workers on ray and slurm, by default.
# Least number of runs per worker on the CPU; starting a worker takes seconds that fewer runs do not win back.
RUNS_PER_WORKER = 8


class RunsFailedError(ValueError):
    """Error for runs that could not be finished, each with its reason."""


@dataclass(frozen=True)
class RunJobs:
    """The runs that are to be done; a worker loads its own copy of everything."""

    config: BenchConfig
    out: Path
    cache: Path
    jobs: tuple[Job, ...]
    command: str
    probed: Mapping[Kind, Needs | str]  # by the process that laid out the plan

    def open(self, place: Place) -> Perform:
        """Load the backbone and lay out the same plan."""
        settings = replace(self.config.settings, device=place.device)
        config = replace(self.config, settings=settings)
        bench = open_bench(config, self.out, self.cache)
        if place.processes > 1:
            device = bench.backbone.device
            team = join_team(place.rank, place.processes, place.meeting, device, bench.precision)
            bench = replace(bench, team=team)
        return performer(plan(config, bench, fresh=True, known=self.probed), bench)


def performer(todo: Plan, bench: Bench) -> Perform:
    """A function that performs jobs: their runs, from checkpoints if there are some."""
    runs = {run.run_id: run for run in todo.runs}

    def perform(jobs: Sequence[Job], tell: Tell) -> Iterator[tuple[Job, str | None]]:
        for job in jobs:
            if job.key not in runs:
                raise ConfigError(
                    f"a worker's plan lacks the run in {job.folder}: it sees other data, weights, software or kinds of "
                    "devices than the process that laid out the plan"
                )
        learnt = _side_by_side([runs[job.key] for job in jobs], bench, tell) if len(jobs) > 1 else None
        for place, job in enumerate(jobs):
            ending = partial(_alone, runs[job.key], bench, tell) if learnt is None else learnt[place]
            yield job, _failure(ending, runs[job.key])

    return perform


def _side_by_side(runs: Sequence[Run], bench: Bench, tell: Tell) -> Sequence[Callable[[], object]] | None:
    """Train runs in one loop; returns how each of them ends, or None where memory is short for all at once."""

    def on_epoch(done: int) -> None:
        for run in runs:
            tell(Event("epoch", run.run_id, done))

    try:
        return learn_group(runs, bench, on_epoch)
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
    torch.cuda.empty_cache()
    config = runs[0].config
    warnings.warn(
        f"{config.label} on {config.dataset}: there is not enough memory to train {len(runs)} runs side by side, so "
        "they are trained one by one; LAUNCH.REPLICAS 1 does that at once",
        stacklevel=2,
    )
    return None


def _alone(run: Run, bench: Bench, tell: Tell) -> None:
    if bench.team.leads:
        execute(run, bench, lambda done: tell(Event("epoch", run.run_id, done)))
    else:
        assist(run, bench)


def _failure(ending: Callable[[], object], run: Run) -> str | None:
    """Bring a run to its end; returns the error of a failure that concerns it alone."""
    try:
        ending()
    except DivergedError as error:
        return str(error)
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        if run.processes > 1:
            raise ConfigError(_out_of_memory(run, error)) from error  # The rest of the team waits for this one.
        torch.cuda.empty_cache()  # Free the memory for the next run.
        return _out_of_memory(run, error)
    return None


def lacks_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an error says that the device, or this machine, has no memory left."""
    kinds = (torch.cuda.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)  # torch's message on the CPU.


def _out_of_memory(run: Run, error: RuntimeError | MemoryError) -> str:
    config = run.config
    return (
        f"{config.label} on {config.dataset}, seed {config.seed}: the device has not enough memory; lower "
        f"OPTIM.BATCH_SIZE (now {config.optim.batch_size}), take a smaller backbone or a device that nothing else is "
        f"using ({' '.join(str(error).splitlines()[:1]) or type(error).__name__})"
    )


def jobs_of(todo: Plan, side_by_side: int = 1, first: Sequence[str] = ()) -> tuple[Job, ...]:
    """Jobs for the runs that are to be done, in the plan's order; records that do not count are stale.

    Args:
        side_by_side: most runs of one kind, see `trainers.runs.replicas`, that are done in one go.
        first: methods whose runs come first, on every data set.
    """
    jobs: list[Job] = []
    open_units: dict[Hashable, list[Run]] = {}
    for run in todo.to_do:
        record = run.folder / RECORD_FILE
        stale = record.stat().st_mtime_ns if record.exists() else None
        unit = open_units.setdefault(kind_of(run), [])
        if len(unit) >= side_by_side:
            unit.clear()
        unit.append(run)
        stage = int(run.config.method not in first)
        jobs.append(Job(run.run_id, run.folder, run.config.dataset, record, stale, stage, unit[0].run_id))
    return tuple(jobs)


def most_side_by_side(config: BenchConfig, count: int, device: torch.device) -> int:
    """Most of `count` runs that a worker trains side by side: as the settings say, and so that no worker is idle."""
    return min(config.launch.replicas, max(1, -(-count // count_workers(config, count, device))))


def choose_launcher(config: BenchConfig, todo: Plan, bench: Bench) -> Launcher:
    """The launcher that the settings ask for."""
    launch, device = config.launch, bench.backbone.device.type
    workers = count_workers(config, len(todo.to_do), bench.backbone.device)
    cpus = launch.cpus or torch.get_num_threads()
    gpus = launch.gpus if device == "cuda" else 0
    if launch.launcher == "ray":
        return Ray(workers, device, launch.address, cpus, gpus)
    if launch.launcher == "slurm":
        logs = bench.out / ".slurm"
        return Slurm(workers, device, logs, launch.cluster, cpus, math.ceil(gpus), launch.minutes, launch.partition)
    if launch.processes > 1:
        return Together(team_devices(launch.processes, bench.backbone.device))
    devices = worker_devices(config, len(todo.to_do), bench.backbone.device)
    if len(devices) == 1:
        return InProcess(performer(todo, bench), devices[0])
    return Local(devices)


def count_workers(config: BenchConfig, count: int, device: torch.device) -> int:
    """Number of workers that share `count` runs."""
    if config.launch.processes > 1:
        return 1
    if config.launch.launcher != "local":
        return config.launch.workers or WORKERS_ELSEWHERE
    return len(worker_devices(config, count, device))


def worker_devices(config: BenchConfig, count: int, device: torch.device) -> tuple[str, ...]:
    """Device of each local worker that shares `count` runs."""
    workers, asked = config.launch.workers, config.settings.device
    if device.type != "cuda":
        room = max(1, _cores() // torch.get_num_threads())
        return (str(device),) * min(count, workers or min(room, -(-count // RUNS_PER_WORKER))) or (str(device),)
    visible = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    devices = visible if asked in ("auto", "cuda") else [str(device)]
    wanted = min(count, workers or len(devices))
    return tuple(devices[index % len(devices)] for index in range(wanted)) or (devices[0],)


def team_devices(processes: int, device: torch.device) -> tuple[str, ...]:
    """Device of each process in a team that trains one run together.

    Raises:
        ConfigError: if there are not enough CUDA devices.
    """
    if device.type != "cuda":
        return (str(device),) * processes
    if processes > torch.cuda.device_count():
        raise ConfigError(f"--processes {processes} needs as many CUDA devices; there are {torch.cuda.device_count()}")
    return tuple(f"cuda:{index}" for index in range(processes))


def _cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    config: BenchConfig, todo: Plan, bench: Bench, cache: Path, launcher: Launcher, tell: Tell
) -> tuple[list[ResultRecord], list[str]]:
    """Have the unfinished runs computed: records of all runs in the plan's order, and reasons for missing ones."""
    pinned = replace(config.settings, threads=torch.get_num_threads())  # The number enters the last digits.
    most = most_side_by_side(config, len(todo.to_do), bench.backbone.device)
    jobs = jobs_of(todo, most, config.settings.first)
    work = RunJobs(replace(config, settings=pinned), bench.out, cache, jobs, uuid.uuid4().hex, todo.probed)
    if todo.fresh:
        for job in jobs:
            discard_checkpoints(job.folder)
    if jobs:
        launcher.launch(work, tell)
    failed = {job.key for job in jobs if not job.is_done()}
    for run in todo.runs:
        if run.run_id not in failed:
            tidy(run)
    failures = [error for job in jobs if (error := job.failure(work.command)) is not None]
    records = [
        todo.finished.get(run.run_id) or read_record(run.folder) for run in todo.runs if run.run_id not in failed
    ]
    return records, failures


def tidy(run: Run) -> None:
    """Remove the files that a process leaves if it is killed between a finished run's record and its end."""
    if (run.folder / CHECKPOINTS).exists() or any(run.folder.glob(".*")):
        with held(Claim(run.folder / CLAIM_FILE)) as is_ours:
            if is_ours:
                discard_checkpoints(run.folder)
                Job(run.run_id, run.folder, run.config.dataset, run.folder / RECORD_FILE).tidy()


def refuse_failures(failures: Sequence[str]) -> None:
    """Raise a RunsFailedError if there are failures."""
    if failures:
        raise RunsFailedError(f"{len(failures)} runs failed: {'; '.join(failures)}")

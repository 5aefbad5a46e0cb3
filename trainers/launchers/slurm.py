"""Workers as a Slurm job array, through submitit; all nodes must see the same folders."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from trainers.launchers.base import POLL_SECONDS, Place, Tell, Watch, Work, be_worker

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission


@dataclass(frozen=True)
class Slurm:
    """Launcher with an array of `workers` Slurm jobs; a job that is preempted or out of time is queued again.

    Args:
        device: torch device name as a worker sees it; Slurm shows each worker only its own GPUs.
        folder: for submitit's scripts and logs; every node must see it.
        cluster: "local" runs the jobs as processes of this machine, as a trial.
        cpus: CPU cores per worker.
        gpus: GPUs per worker.
        minutes: time limit of a Slurm job; unfinished work continues in a new job.
        partition: Slurm partition; empty for the cluster's default.
    """

    workers: int
    device: str
    folder: Path
    cluster: Literal["slurm", "local"] = "slurm"
    cpus: int = 1
    gpus: int = 0
    minutes: int = 240
    partition: str = ""

    def launch(self, work: Work, tell: Tell) -> None:
        """Submit the array, report jobs that are settled on disk, and resubmit workers that died.

        Raises:
            ImportError: if submitit is not installed.
        """
        submitit = _import_submitit()
        executor = submitit.AutoExecutor(folder=str(self.folder), cluster=self.cluster)
        executor.update_parameters(**self._parameters())
        places = [Place(index, self.workers, self.device) for index in range(self.workers)]
        worker = _ArrayWorker(work)
        watch, errors = Watch(work, tell, self.workers), list[str]()
        crew = dict(zip(executor.map_array(worker, places), places, strict=True))
        try:
            while crew and watch.goes_on():
                time.sleep(POLL_SECONDS)
                watch.look()
                for job, place in list(crew.items()):
                    if not job.done():
                        continue
                    del crew[job]
                    try:
                        if (error := job.result()) is not None:
                            errors.append(error)
                    except submitit.core.utils.FailedJobError as failure:
                        errors.append(str(failure))
                    except submitit.core.utils.UncompletedJobError:  # no answer: the job was killed or its node died
                        if watch.may_replace():
                            crew[executor.submit(worker, place)] = place
        finally:
            for job in crew:
                job.cancel()
        watch.conclude(errors)

    def _parameters(self) -> Mapping[str, int | str]:
        parameters: dict[str, int | str] = {
            "name": "adaptkit",
            "timeout_min": self.minutes,
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus,
            "slurm_array_parallelism": self.workers,
        }
        return parameters | ({"slurm_partition": self.partition} if self.partition else {})


@dataclass(frozen=True)
class _ArrayWorker:
    work: Work

    def __call__(self, place: Place) -> str | None:
        return be_worker(self.work, place, lambda event: None)

    def checkpoint(self, place: Place) -> "DelayedSubmission":
        """Make the submission that submitit queues when Slurm is about to end the job: the same worker again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, place)


def _import_submitit() -> ModuleType:
    try:
        import submitit
        import submitit.core.utils
    except ImportError as error:
        raise ImportError("--launcher slurm needs submitit; pip install 'adaptkit-clip[slurm]'") from error
    return submitit

"""Workers on a Ray cluster, an existing one or a new one on this machine; all workers must see the same folders."""

import math
import os
import warnings
from dataclasses import dataclass
from types import ModuleType

from trainers.launchers.base import POLL_SECONDS, LaunchError, Place, Tell, Watch, Work, be_worker

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ray:
    """Launcher with `workers` Ray tasks, each with its own resources; a task whose worker dies is started again.

    Args:
        device: torch device name as a worker sees it; Ray shows each worker only its own GPUs.
        address: a cluster's address, "auto" for the cluster of this machine, or empty to start one here,
            which listens on this machine's loopback alone.
        cpus: CPU cores per worker.
        gpus: GPUs per worker; a fraction, such as 0.5, lets workers share a GPU.
    """

    workers: int
    device: str
    address: str = ""
    cpus: float = 1.0
    gpus: float = 0.0

    def launch(self, work: Work, tell: Tell) -> None:
        """Start the tasks, report jobs that are settled on disk, and restart tasks whose worker died.

        Raises:
            ImportError: if Ray is not installed.
            LaunchError: if jobs are left, if Ray does not start, or if this machine has no room for a worker.
        """
        ray = _import_ray()
        is_ours = not ray.is_initialized()
        if is_ours:
            self._join(ray)
        try:
            self._check_room(ray, may_grow=bool(self.address) or not is_ours)
            self._watch(ray, work, tell)
        finally:
            if is_ours:
                ray.shutdown()

    def _join(self, ray: ModuleType) -> None:
        """Join the cluster at the address, or start one on this machine."""
        cores = max(os.cpu_count() or 1, math.ceil(self.workers * self.cpus))
        # By itself, Ray lets every machine that can reach this one run code in the cluster.
        here = {"num_cpus": cores, "include_dashboard": False, "_node_ip_address": LOOPBACK}
        where = {"address": self.address} if self.address else here
        try:
            ray.init(**where, logging_level="warning")
        except (ValueError, OSError):  # says itself what is wrong, such as an address where nobody answers
            raise
        except Exception as error:  # Ray has no narrower kind for a part of it that died or was too slow
            raise LaunchError(f"Ray did not start ({error}); `ray stop`, and start the same command again") from error

    def _watch(self, ray: ModuleType, work: Work, tell: Tell) -> None:
        # This loop restarts tasks, not Ray: a task that keeps dying at the same job has to be given up.
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(_be_worker)
        shared = ray.put(work)
        watch, errors = Watch(work, tell, self.workers), list[str]()
        crew = {task.remote(shared, place): place for place in self._places()}
        try:
            while crew and watch.goes_on():
                ended, _ = ray.wait(list(crew), num_returns=1, timeout=POLL_SECONDS)
                watch.look()
                for worker in ended:
                    place = crew.pop(worker)
                    try:
                        if (error := ray.get(worker)) is not None:
                            errors.append(error)
                    except ray.exceptions.RayTaskError as failure:
                        errors.append(f"{type(failure.cause).__name__}: {failure.cause}")
                    except ray.exceptions.RayError:  # the worker or its machine is gone
                        if watch.may_replace():
                            crew[task.remote(shared, place)] = place
        finally:
            for worker in crew:
                ray.cancel(worker, force=True)
        watch.conclude(errors)

    def _check_room(self, ray: ModuleType, may_grow: bool) -> None:
        """Check that a machine can hold a worker, because Ray would wait forever.

        A cluster that another machine may join gets a warning.

        Raises:
            LaunchError: if no machine can hold a worker and none may join.
        """
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if any(room.get("CPU", 0) >= self.cpus and room.get("GPU", 0) >= self.gpus for room in machines):
            return
        lack = (
            f"no machine of the Ray cluster has the {self.cpus:g} CPUs and {self.gpus:g} GPUs that a worker asks for; "
            "lower LAUNCH.CPUS or LAUNCH.GPUS"
        )
        if not may_grow:
            raise LaunchError(lack)
        warnings.warn(f"{lack}, or wait for one to join", stacklevel=3)

    def _places(self) -> list[Place]:
        return [Place(index, self.workers, self.device) for index in range(self.workers)]


def _import_ray() -> ModuleType:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ImportError("--launcher ray needs Ray; pip install 'adaptkit-clip[ray]'") from error
    return ray


def _be_worker(work: Work, place: Place) -> str | None:
    return be_worker(work, place, lambda event: None)

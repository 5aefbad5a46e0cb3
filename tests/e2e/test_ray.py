"""The ray launcher on a local cluster."""

import importlib.util
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.fake_work import FakeWork, fake_jobs
from trainers.launchers import LaunchError
from trainers.launchers.ray import Ray

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


def kill_at_random(launching, work, times, rng):
    """Kill workers of the work with SIGKILL until it is over or so many are dead; says how many."""
    killed = 0
    while launching.is_alive() and killed < times:
        time.sleep(rng.uniform(0.1, 1.0))
        alive = [pid for pid in work.pids() if Path(f"/proc/{pid}").exists()]
        if alive:
            os.kill(rng.choice(alive), signal.SIGKILL)
            killed += 1
    return killed


def test_a_worker_that_is_killed_loses_no_job(tmp_path):
    work, told = FakeWork(tmp_path, fake_jobs(tmp_path, 20), seconds=0.1), []
    launching = threading.Thread(target=Ray(2, "cpu").launch, args=(work, told.append))
    launching.start()
    assert kill_at_random(launching, work, 1, random.Random(1)) == 1
    launching.join(timeout=300)
    assert sorted(event.key for event in told if event.kind == "done") == sorted(job.key for job in work.jobs)
    assert len(work.performed()) <= 21


@pytest.mark.slow
def test_300_runs_on_4_workers_lose_none_when_workers_are_killed_at_random(tmp_path):
    work, told = FakeWork(tmp_path, fake_jobs(tmp_path, 300, groups=10), seconds=0.05), []
    launching = threading.Thread(target=Ray(4, "cpu").launch, args=(work, told.append))
    launching.start()
    killed = kill_at_random(launching, work, 8, random.Random(1))
    launching.join(timeout=300)
    assert killed >= 3
    assert sorted(event.key for event in told if event.kind == "done") == sorted(job.key for job in work.jobs)
    assert all(job.result.read_text() == job.key for job in work.jobs)
    again = len(work.performed()) - 300
    assert 0 <= again <= killed  # only what a killed worker was at is done again


def test_what_no_worker_can_do_is_one_error(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 2), broken=True)
    with pytest.raises(LaunchError, match=r"2 of 2 runs are not done \(ValueError: the weights are gone"):
        Ray(2, "cpu").launch(work, lambda event: None)

"""The ray launcher on a local cluster."""

import contextlib
import importlib.util
import os
import random
import re
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.fake_work import FakeWork, fake_jobs
from trainers.config import load_bench
from trainers.launchers import InProcess, LaunchError
from trainers.launchers.base import CLAIM_FILE
from trainers.launchers.ray import Ray
from trainers.matrix import open_bench, plan
from trainers.records import LEARNT_FILE
from trainers.run_jobs import performer, run_all

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


@pytest.mark.slow
def test_real_runs_whose_workers_are_killed_at_random_end_with_the_same_bits(tmp_path):
    words = [
        "DATASETS",
        "[emoji_activities]",
        "METHODS",
        "[coop, promptsrc, clip_lora]",
        "SEEDS",
        "[1]",
        "THREADS",
        "1",
    ]
    words += ["SHOTS", "[2]", "OPTIM.EPOCHS", "4", "DEVICE", "cpu", "CHECKPOINT.STEPS", "2"]
    config = load_bench(overrides=words)

    def learnt(out, launcher, tell):
        shared = open_bench(config, out, tmp_path / "cache")
        todo = plan(config, shared)
        launcher = launcher or InProcess(performer(todo, shared), "cpu")
        _, failures = run_all(config, todo, shared, tmp_path / "cache", launcher, tell)
        assert not failures
        return {run.run_id: load_file(run.folder / LEARNT_FILE) for run in todo.runs}

    expected, found = learnt(tmp_path / "undisturbed", None, lambda event: None), {}
    launching = threading.Thread(target=lambda: found.update(learnt(tmp_path / "runs", Ray(2, "cpu"), print)))
    launching.start()
    rng, killed = random.Random(2), 0
    while launching.is_alive() and killed < 10:
        time.sleep(rng.uniform(0.2, 2.0))
        for path in (tmp_path / "runs").rglob(CLAIM_FILE):  # says whose it is
            with contextlib.suppress(OSError, AttributeError):
                os.kill(int(re.search(r"pid=(\d+)", path.read_text()).group(1)), signal.SIGKILL)
                killed += 1
                break
    launching.join(timeout=300)
    assert killed
    assert found.keys() == expected.keys()
    for key, tensors in expected.items():
        assert all(torch.equal(found[key][name], tensor) for name, tensor in tensors.items())


def test_what_no_worker_can_do_is_one_error(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 2), broken=True)
    with pytest.raises(LaunchError, match=r"2 of 2 runs are not done \(ValueError: the weights are gone"):
        Ray(2, "cpu").launch(work, lambda event: None)

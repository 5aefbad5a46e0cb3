"""The ray launcher on a local cluster."""

import contextlib
import importlib.util
import os
import random
import re
import signal
import threading
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.fake_work import LONGEST, FakeWork, fake_jobs, launched, wait_until
from trainers.bench.jobs import performer, run_all
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.launchers import InProcess, LaunchError, Place, base
from trainers.launchers.base import CLAIM_FILE, DEATHS_IN_A_ROW
from trainers.launchers.ray import Ray
from trainers.runs.records import LEARNT_FILE

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


def keys(told, kind="done"):
    return sorted(event.key for event in told if event.kind == kind)


def test_a_worker_that_is_killed_is_replaced_and_loses_no_job(tmp_path):
    jobs = fake_jobs(tmp_path, 20)
    work = FakeWork(tmp_path, jobs, gated=tuple(job.key for job in jobs))
    with launched(Ray(2, "cpu"), work) as told:
        wait_until(lambda: len(work.performed()) == 2)  # each worker is at a job, and stays there
        doomed = work.performed()[0]
        os.kill(work.at(doomed), signal.SIGKILL)
        wait_until(lambda: len(work.pids()) == 3)
        work.open_gate()
    assert keys(told) == sorted(job.key for job in jobs)
    assert sorted(work.performed()) == sorted([doomed, *(job.key for job in jobs)])


def test_a_worker_that_there_is_no_room_for_is_not_waited_for_when_the_jobs_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "END_SECONDS", 1.0)
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 2))
    with pytest.warns(UserWarning, match="no machine of the Ray cluster has the 64 CPUs"):  # noqa: SIM117
        with launched(Ray(1, "cpu", cpus=64.0), work) as told:
            InProcess(work.open(Place(0, 1, "cpu")), "cpu").launch(work, lambda event: None)  # another command's
    assert keys(told) == ["job0", "job1"]


@pytest.mark.slow
def test_300_runs_on_4_workers_lose_none_when_workers_are_killed_at_random(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 300, groups=10), seconds=0.05, gated=("job150", "job299"))
    with launched(Ray(4, "cpu"), work) as told:
        work.kill_some(8, random.Random(1))
        work.open_gate()
    assert keys(told) == sorted(job.key for job in work.jobs)
    assert all(job.result.read_text() == job.key for job in work.jobs)
    assert 0 <= len(work.performed()) - 300 <= 8  # only what a killed worker was at is done again


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
    launching = threading.Thread(
        target=lambda: found.update(learnt(tmp_path / "runs", Ray(2, "cpu"), print)), daemon=True
    )
    launching.start()
    rng, killed = random.Random(2), 0
    while launching.is_alive() and killed < 2 * DEATHS_IN_A_ROW - 1:  # one more may be given up as deadly
        for path in (tmp_path / "runs").rglob(CLAIM_FILE):  # says whose it is
            time.sleep(rng.uniform(0.0, 0.5))
            with contextlib.suppress(OSError, AttributeError):
                os.kill(int(re.search(r"pid=(\d+)", path.read_text()).group(1)), signal.SIGKILL)
                killed += 1
                time.sleep(rng.uniform(0.0, 2.0))
            break
    launching.join(timeout=LONGEST)
    assert killed
    assert found.keys() == expected.keys()
    for key, tensors in expected.items():
        assert all(torch.equal(found[key][name], tensor) for name, tensor in tensors.items())


def test_what_no_worker_can_do_is_one_error(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 2), broken=True)
    with pytest.raises(LaunchError, match=r"2 of 2 runs are not done \(ValueError: the weights are gone"):
        Ray(2, "cpu").launch(work, lambda event: None)

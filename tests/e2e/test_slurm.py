"""The slurm launcher through submitit's local executor, which runs the jobs as processes of this machine."""

import importlib.util
import os
import signal

import pytest

from tests.helpers.fake_work import FakeWork, fake_jobs, launched
from trainers.launchers import LaunchError
from trainers.launchers.slurm import Slurm

pytestmark = pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="submitit is not installed")


def test_an_array_shares_the_jobs_and_a_worker_that_is_killed_loses_none(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 30), gated=("job0",))
    with launched(Slurm(2, "cpu", tmp_path / "slurm", "local"), work) as told:
        os.kill(work.at("job0"), signal.SIGKILL)
        work.open_gate()
    assert sorted(event.key for event in told if event.kind == "done") == sorted(job.key for job in work.jobs)
    assert all(job.result.read_text() == job.key for job in work.jobs)
    assert len(work.performed()) <= 31


def test_what_no_worker_can_do_is_one_error(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 2), broken=True)
    with pytest.raises(LaunchError, match=r"2 of 2 runs are not done \(ValueError: the weights are gone"):
        Slurm(1, "cpu", tmp_path / "slurm", "local").launch(work, lambda event: None)

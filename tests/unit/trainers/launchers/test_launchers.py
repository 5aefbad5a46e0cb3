import json
import os
import random
import signal
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import forkserver
from types import ModuleType

import pytest

from datasets_fewshot.store import claims
from datasets_fewshot.store.claims import Claim
from tests.helpers.fake_work import FakeWork, fake_jobs, is_alive, launched, wait_until
from trainers.launchers import InProcess, LaunchError, Local, Place, local
from trainers.launchers.base import CLAIM_FILE, FAILED_FILE, ordered
from trainers.launchers.local import Member, be_alone
from trainers.launchers.ray import Ray
from trainers.launchers.slurm import Slurm
from trainers.launchers.together import Together

TWO = Local(("cpu", "cpu"))
ALONE = Place(0, 1, "cpu")


def in_process(work):
    return InProcess(work.open(ALONE), "cpu")


def launch(launcher, work):
    told = []
    launcher.launch(work, told.append)
    return told


def kinds(told, kind):
    return [event.key for event in told if event.kind == kind]


def test_one_process_does_the_jobs_in_order_and_tells_of_each(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 4))
    told = launch(in_process(work), work)
    assert work.performed() == ["job0", "job1", "job2", "job3"]
    assert [(event.kind, event.key) for event in told[:3]] == [("start", "job0"), ("epoch", "job0"), ("done", "job0")]


def test_a_result_from_before_is_not_done_again_unless_it_is_stale(tmp_path):
    jobs = fake_jobs(tmp_path, 2)
    work = FakeWork(tmp_path, jobs)
    launch(in_process(work), work)
    assert kinds(launch(in_process(work), work), "done") == ["job0", "job1"]
    assert work.performed() == ["job0", "job1"]
    stale = replace(jobs[1], stale=jobs[1].result.stat().st_mtime_ns)
    again = replace(work, jobs=(jobs[0], stale))
    launch(in_process(again), again)
    assert work.performed() == ["job0", "job1", "job1"]


def test_workers_share_the_jobs_and_none_is_done_twice(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 12), seconds=0.05)
    told = launch(TWO, work)
    assert sorted(work.performed()) == sorted(job.key for job in work.jobs)
    assert sorted(kinds(told, "done")) == sorted(job.key for job in work.jobs)
    assert len(set(work.pids())) == 2
    assert all(job.result.read_text() == job.key for job in work.jobs)
    assert not list(tmp_path.rglob(f"{CLAIM_FILE}*"))


def alike(jobs, *units):
    """The jobs, with those of a unit alike."""
    words = {place: unit for unit, places in enumerate(units) for place in places}
    return [replace(job, alike=f"unit{words[place]}" if place in words else "") for place, job in enumerate(jobs)]


def test_jobs_that_are_alike_are_handed_over_together(tmp_path):
    work = FakeWork(tmp_path, alike(fake_jobs(tmp_path, 6, groups=1), (0, 2, 3), (4, 5)))
    told = launch(in_process(work), work)
    assert work.units() == ["job0 job2 job3", "job1", "job4 job5"]
    assert kinds(told, "done") == ["job0", "job2", "job3", "job1", "job4", "job5"]
    assert kinds(told, "start") == kinds(told, "done")
    assert [event.kind for event in told[:3]] == ["start"] * 3


def test_what_is_done_has_failed_or_is_held_is_left_out_of_a_unit(tmp_path):
    jobs = alike(fake_jobs(tmp_path, 5, groups=1), range(5))
    work = FakeWork(tmp_path, jobs, bad=("job3",))
    jobs[0].folder.mkdir()
    jobs[0].result.write_text("done")
    jobs[1].fail(work.command, "it is bad")
    held = Claim(jobs[2].folder / CLAIM_FILE)
    assert held.take()
    other = threading.Timer(1.0, lambda: jobs[2].result.write_text("theirs"))
    other.start()
    told = launch(in_process(work), work)
    other.join()
    held.release()
    assert work.units() == ["job3 job4"]
    assert sorted(kinds(told, "failed")) == ["job1", "job3"]
    assert not list(tmp_path.rglob(f"{CLAIM_FILE}*"))


def test_a_unit_that_killed_its_worker_is_done_job_by_job(tmp_path):
    work = FakeWork(tmp_path, alike(fake_jobs(tmp_path, 4), range(4)), deadly=("job2",))
    with pytest.raises(LaunchError, match="1 of 4 runs are not done"):
        launch(Local(("cpu",)), work)
    assert work.units()[0] == "job0 job1 job2 job3"
    assert {"job2", "job3"} <= {*work.units()}
    assert [job.is_done() for job in work.jobs] == [True, True, False, True]


def test_an_error_of_all_releases_every_claim_of_a_unit(tmp_path):
    work = FakeWork(tmp_path, alike(fake_jobs(tmp_path, 3), range(3)))

    def perform(jobs, tell):
        yield jobs[0], None
        raise RuntimeError("the device is gone")

    with pytest.raises(RuntimeError, match="the device is gone"):
        launch(InProcess(perform, "cpu"), work)
    assert not list(tmp_path.rglob(f"{CLAIM_FILE}*"))


def test_workers_begin_at_different_groups(tmp_path):
    jobs = fake_jobs(tmp_path, 6)
    assert ordered(jobs, Place(0, 2, "cpu")) == list(jobs)
    assert [job.group for job in ordered(jobs, Place(1, 2, "cpu"))] == ["group1"] * 2 + ["group2"] * 2 + ["group0"] * 2


def test_a_job_that_fails_is_told_once_and_the_others_are_done(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 4), bad=("job1",))
    told = launch(in_process(work), work)
    assert kinds(told, "failed") == ["job1"]
    assert kinds(told, "done") == ["job0", "job2", "job3"]
    assert work.jobs[1].failure("command") == "job1 is bad"


def test_another_command_tries_again_what_failed(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 1), bad=("job0",))
    launch(in_process(work), work)
    later = FakeWork(tmp_path, work.jobs, command="later")
    assert kinds(launch(in_process(later), later), "done") == ["job0"]
    assert not (work.jobs[0].folder / FAILED_FILE).exists()


def test_what_no_worker_can_do_is_one_error(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 2), broken=True)
    with pytest.raises(LaunchError, match=r"2 of 2 runs are not done \(ValueError: the weights are gone; bring them"):
        launch(TWO, work)


def test_a_job_that_kills_its_worker_comes_last_and_is_given_up(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 5), deadly=("job0",))
    with pytest.raises(LaunchError, match=r"1 of 5 runs are not done \(workers died 3 times .* lower --workers"):
        launch(Local(("cpu",)), work)
    assert all(job.is_done() for job in work.jobs[1:])


def test_workers_that_are_killed_at_random_lose_no_job(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 40), seconds=0.05, gated=("job39",))
    with launched(TWO, work) as told:
        work.kill_some(4, random.Random(0))
        work.open_gate()
    assert sorted(kinds(told, "done")) == sorted(job.key for job in work.jobs)
    assert all(job.result.read_text() == job.key for job in work.jobs)


def server():
    """The id of this process's fork server."""
    return forkserver._forkserver._forkserver_pid


def test_a_fork_server_that_is_killed_alone_costs_nothing(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 6), gated=("job0", "job2"))
    with launched(TWO, work) as told:
        first, _ = work.at("job0"), work.at("job2")
        os.kill(server(), signal.SIGKILL)
        os.kill(first, signal.SIGKILL)  # nobody knows how it ended, and another takes its place
        wait_until(lambda: len(set(work.pids())) >= 3)
        work.open_gate()
    assert sorted(kinds(told, "done")) == sorted(job.key for job in work.jobs)
    assert len(work.performed()) <= 8  # the other may be started again, too, if it was not known yet


def test_a_worker_whose_fork_server_is_gone_is_ended_all_the_same(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 1), gated=("job0",))
    member = Member(work, ALONE, be_alone)
    pid = work.at("job0")
    os.kill(server(), signal.SIGKILL)
    wait_until(lambda: member.process.exitcode is not None)  # as multiprocessing says it, of a worker that runs
    assert is_alive(pid)
    member.end()
    wait_until(lambda: not is_alive(pid))


def test_a_worker_is_started_again_if_its_fork_server_is_killed_meanwhile(monkeypatch):
    class Process:
        attempts = 0

        def start(self):
            self.attempts += 1
            if self.attempts <= dying:
                raise ConnectionResetError

    monkeypatch.setattr(local, "POLL_SECONDS", 0)
    process, dying = Process(), 2
    local._start(process)
    assert process.attempts == 3
    process, dying = Process(), local.STARTS
    with pytest.raises(ConnectionResetError):
        local._start(process)


@pytest.mark.parametrize("launcher", [TWO, Together(("cpu", "cpu"))])
def test_workers_are_ended_if_another_cannot_be_started(tmp_path, monkeypatch, launcher):
    class Started:
        alive = 0

        def __init__(self, *_):
            if Started.alive:
                raise OSError("no more processes")
            Started.alive += 1

        def end(self):
            Started.alive -= 1

    monkeypatch.setattr(sys.modules[type(launcher).__module__], "Member", Started)
    with pytest.raises(OSError, match="no more processes"):
        launch(launcher, FakeWork(tmp_path, fake_jobs(tmp_path, 2)))
    assert Started.alive == 0


def test_a_job_of_another_command_is_waited_for(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 2))
    held = Claim(work.jobs[0].folder / CLAIM_FILE)
    assert held.take()

    def finish():
        time.sleep(1)
        work.jobs[0].result.write_text("theirs")
        held.release()

    other = threading.Thread(target=finish)
    other.start()
    launch(Local(("cpu",)), work)
    other.join()
    assert work.performed() == ["job1"]
    assert work.jobs[0].result.read_text() == "theirs"


def test_a_worker_that_died_before_it_named_its_claim_holds_no_job_up_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_SECONDS", 0.5)
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 2))
    work.jobs[0].folder.mkdir()
    (work.jobs[0].folder / CLAIM_FILE).touch()
    launch(in_process(work), work)
    assert work.performed() == ["job1", "job0"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 1))
    folder = work.jobs[0].folder
    (folder / "checkpoints").mkdir(parents=True)
    for name in (
        ".result.txt.123-abc",
        ".result.txt.0a1b2c3d-123-0a1b2c3d",
        "checkpoints/.000000001-aa.safetensors.123-abc",
    ):
        (folder / name).write_text("half")
    launch(in_process(work), work)
    assert sorted(path.name for path in folder.rglob("*")) == ["checkpoints", "result.txt"]


def test_a_failure_says_why_in_its_folder(tmp_path):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 1), bad=("job0",))
    launch(in_process(work), work)
    content = json.loads((work.jobs[0].folder / FAILED_FILE).read_text())
    assert content == {"command": "command", "error": "job0 is bad"}


def test_ray_that_does_not_start_is_one_error(tmp_path, monkeypatch):
    def init(**_):
        raise Exception("The current node timed out during startup")  # the only kind that Ray has for it

    fake = ModuleType("ray")
    fake.is_initialized, fake.init = (lambda: False), init
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.exceptions", ModuleType("ray.exceptions"))
    with pytest.raises(LaunchError, match=r"Ray did not start \(The current node timed out .* `ray stop`"):
        launch(Ray(1, "cpu"), FakeWork(tmp_path, fake_jobs(tmp_path, 1)))


def test_launchers_without_their_library_say_which_extra(tmp_path, monkeypatch):
    work = FakeWork(tmp_path, fake_jobs(tmp_path, 1))
    for name, launcher in (("ray", Ray(1, "cpu")), ("submitit", Slurm(1, "cpu", tmp_path / "slurm"))):
        monkeypatch.setitem(sys.modules, name, None)
        extra = "ray" if name == "ray" else "slurm"
        with pytest.raises(ImportError, match=rf"pip install 'adaptkit-clip\[{extra}\]'"):
            launcher.launch(work, lambda event: None)

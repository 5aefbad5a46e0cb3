import os
import resource
import signal
import time

import pytest

from datasets_fewshot.store import claims
from datasets_fewshot.store.claims import Claim


def test_a_claim_that_is_held_is_refused_and_free_afterwards(tmp_path):
    path = tmp_path / "folder" / ".claim"
    with Claim(path):
        assert not Claim(path).take()
    assert not path.exists()
    assert Claim(path).take()


def held_by_a_child(path):
    """A process of this machine that holds the claim until it is killed."""
    child = os.fork()
    if child == 0:
        held = Claim(path)
        assert held.take()
        path.with_name("held").touch()  # only now the claim has its name
        time.sleep(600)
        os._exit(0)
    while not path.with_name("held").exists():
        time.sleep(0.01)
    return child


def test_the_claim_of_a_process_that_was_killed_is_taken_over_at_once(tmp_path):
    path = tmp_path / ".claim"
    child = held_by_a_child(path)
    assert not Claim(path).take()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert Claim(path).take()


@pytest.fixture
def short_lease(monkeypatch):
    monkeypatch.setattr(claims, "LEASE_SECONDS", 0.5)


def test_the_claim_of_another_machine_is_taken_over_when_it_is_untouched_for_long(tmp_path, short_lease):
    path = tmp_path / ".claim"
    with Claim(path):
        record = path.read_text()
    path.write_text(record.replace(str(os.getpid()), "1").replace(os.uname().nodename, "elsewhere"))
    waiting = Claim(path)
    assert not waiting.take()
    with waiting:  # comes to an end
        assert path.read_text() != record


@pytest.mark.parametrize("content", [b"", b"filelock/2\npid=12"], ids=["no name", "half a name"])
def test_the_claim_of_who_died_before_its_name_was_written_is_taken_over(tmp_path, short_lease, content):
    path = tmp_path / ".claim"
    path.write_bytes(content)
    waiting = Claim(path)
    assert not waiting.take()
    with waiting:  # comes to an end
        assert f"pid={os.getpid()}" in path.read_text()
    assert not path.exists()


def test_an_empty_file_that_gets_its_name_in_time_is_left_alone(tmp_path, short_lease):
    path = tmp_path / ".claim"
    with Claim(path):
        record = path.read_text()
        path.write_text("")
        waiting = Claim(path)
        assert not waiting.take()
        path.write_text(record)
        time.sleep(0.6)
        assert not waiting.take()


def test_a_disk_without_room_for_a_claim_is_named_and_none_is_left(tmp_path):
    path = tmp_path / ".claim"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # the system refuses larger files, as a full disk does
    try:
        with pytest.raises(OSError, match=r"\.claim"):
            Claim(path).take()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not path.exists()
    assert Claim(path).take()

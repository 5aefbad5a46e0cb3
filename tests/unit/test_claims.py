import os
import signal
import time

import pytest
from filelock import Timeout

from datasets_fewshot import claims
from datasets_fewshot.claims import claim


def test_a_claim_that_is_held_is_refused_and_free_afterwards(tmp_path):
    path = tmp_path / "folder" / ".claim"
    with claim(path), pytest.raises(Timeout):
        claim(path).acquire(blocking=False)
    assert not path.exists()
    claim(path).acquire(blocking=False).lock.release()


def held_by_a_child(path):
    """A process of this machine that holds the claim until it is killed."""
    child = os.fork()
    if child == 0:
        held = claim(path)
        held.acquire()
        time.sleep(600)
        os._exit(0)
    while not path.exists():
        time.sleep(0.01)
    return child


def test_the_claim_of_a_process_that_was_killed_is_taken_over_at_once(tmp_path):
    path = tmp_path / ".claim"
    child = held_by_a_child(path)
    with pytest.raises(Timeout):
        claim(path).acquire(timeout=0.5)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with claim(path):
        assert path.exists()


def test_the_claim_of_another_machine_is_taken_over_when_it_is_untouched_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_SECONDS", 1.0)
    path = tmp_path / ".claim"
    with claim(path):
        record = path.read_text()
    path.write_text(record.replace(str(os.getpid()), "1").replace(os.uname().nodename, "elsewhere"))
    waiting = claim(path)
    with pytest.raises(Timeout):
        waiting.acquire(blocking=False)
    with pytest.raises(Timeout):
        waiting.acquire(timeout=0.5)
    waiting.acquire(timeout=10)
    waiting.release()

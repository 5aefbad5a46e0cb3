import resource
from dataclasses import replace

import pytest
import torch

from trainers.config.settings import CheckpointConfig
from trainers.training.checkpoints import Checkpoints, Snapshot, discard_checkpoints

EVERY_STEP = CheckpointConfig(seconds=0, steps=1)


def snapshot(steps: int) -> Snapshot:
    return Snapshot(steps, {"a": torch.full((3,), float(steps)), "b": torch.tensor(2)}, {"losses": [0.1, 1e-300]})


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path, "run", EVERY_STEP)


def files(checkpoints):
    return sorted(checkpoints.folder.iterdir())


def test_what_is_written_comes_back_bit_by_bit(checkpoints):
    checkpoints.save(snapshot(7))
    read = checkpoints.newest()
    assert read.steps == 7
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in snapshot(7).tensors.items())
    assert read.facts["losses"] == [0.1, 1e-300]


def test_the_last_two_are_kept(checkpoints):
    for steps in (1, 2, 10, 100):
        checkpoints.save(snapshot(steps))
    assert [int(path.name[:9]) for path in files(checkpoints)] == [10, 100]
    assert checkpoints.newest().steps == 100


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: content[:-2] + bytes([content[-2] ^ 1]) + content[-1:],
        lambda content: b"\xff" * len(content),
    ],
    ids=["cut", "empty", "one bit", "overwritten"],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(checkpoints, damage):
    checkpoints.save(snapshot(1))
    checkpoints.save(snapshot(2))
    newest = files(checkpoints)[-1]
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.warns(UserWarning, match="000000002-.* is not used"):
        assert checkpoints.newest().steps == 1


def test_without_a_sound_checkpoint_there_is_none(checkpoints):
    assert checkpoints.newest() is None
    checkpoints.save(snapshot(1))
    files(checkpoints)[0].write_bytes(b"x")
    with pytest.warns(UserWarning, match="its bytes have changed"):
        assert checkpoints.newest() is None


def test_another_runs_checkpoint_is_not_used(checkpoints, tmp_path):
    checkpoints.save(snapshot(1))
    with pytest.warns(UserWarning, match="expected .*'other'"):
        assert Checkpoints(tmp_path, "other", EVERY_STEP).newest() is None


def test_the_seconds_before_an_interruption_count(checkpoints, tmp_path):
    checkpoints._started -= 100
    checkpoints.save(snapshot(1))
    later = Checkpoints(tmp_path, "run", EVERY_STEP)
    later.newest()
    assert later.seconds >= 100


def test_steps_and_seconds_say_when_one_is_due(checkpoints):
    checkpoints.config = CheckpointConfig(seconds=0, steps=5)
    assert [steps for steps in range(1, 12) if checkpoints.is_due(steps)] == [5, 10]
    checkpoints.config = CheckpointConfig(seconds=60, steps=0)
    assert not checkpoints.is_due(5)
    checkpoints._last_saved -= 60
    assert checkpoints.is_due(5)
    checkpoints.config = CheckpointConfig(seconds=0, steps=0)
    assert not checkpoints.is_due(5)


def test_a_full_disk_leaves_no_half_file_and_the_older_checkpoints(checkpoints):
    checkpoints.save(snapshot(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # the system refuses larger files, as a full disk does
    try:
        with pytest.warns(UserWarning, match="no checkpoint after 2 steps"):
            checkpoints.save(replace(snapshot(2), tensors={"a": torch.zeros(10_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [int(path.name[:9]) for path in files(checkpoints)] == [1]


def test_a_discarded_run_has_none(checkpoints, tmp_path):
    checkpoints.save(snapshot(1))
    discard_checkpoints(tmp_path)
    assert checkpoints.newest() is None
    assert list(tmp_path.iterdir()) == []

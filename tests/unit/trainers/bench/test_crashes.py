"""What goes wrong while runs go on: no finished run is lost, no file stays half-written, one error says what to do."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import trainers.bench.plan
from adaptkit import method_class
from datasets_fewshot import registry
from tests.helpers.synthetic import synthetic_dataset
from trainers.bench.jobs import performer, run_all
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.config.values import ConfigError
from trainers.launchers import InProcess
from trainers.runs.records import LEARNT_FILE, RECORD_FILE, read_record, read_records

WORDS = ["METHODS", "[zero_shot, coop]", "SHOTS", "[2]", "SEEDS", "[1, 2]", "OPTIM.EPOCHS", "3", "DEVICE", "cpu"]
WORDS += ["OPTIM.BATCH_SIZE", "2", "COOP.N_CTX", "2", "COOP.CTX_INIT", "''", "CHECKPOINT.STEPS", "1"]
WORDS += ["LAUNCH.REPLICAS", "1"]
STEPS = 6  # of a training: 4 images in batches of 2, three times
RESULTS = [RECORD_FILE, LEARNT_FILE, RECORD_FILE, LEARNT_FILE, RECORD_FILE]


@pytest.fixture
def run(monkeypatch, tiny_clip, tmp_path):
    """Run one zero-shot and two CoOp runs: (folder) -> what was begun, and why runs failed."""
    loader = lambda root, **options: synthetic_dataset(tmp_path / "images")  # noqa: E731
    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", loader)})
    monkeypatch.setattr(trainers.bench.plan, "load_backbone", lambda *args, **options: tiny_clip)

    def start(out: str = "runs"):
        config, told = load_bench(overrides=WORDS), []
        shared = open_bench(config, tmp_path / out, tmp_path / "cache")
        todo = plan(config, shared)
        launcher = InProcess(performer(todo, shared), "cpu")
        _, failures = run_all(config, todo, shared, tmp_path / "cache", launcher, told.append)
        return [event.key for event in told if event.kind == "start"], failures

    return start


@pytest.fixture
def undisturbed(run, tmp_path):
    """What every run comes to: name of its folder -> learnt tensors, scores."""
    run("undisturbed")
    return results(tmp_path / "undisturbed")


def results(out):
    folders = [path.parent for path in out.rglob(RECORD_FILE)]
    learnt = {path.parent.name: load_file(path) for path in out.rglob(LEARNT_FILE)}
    return {folder.name: (learnt.get(folder.name, {}), read_record(folder).scores) for folder in folders}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, (learnt, scores) in expected.items():
        assert found[name][1] == scores
        assert all(torch.equal(found[name][0][key], tensor) for key, tensor in learnt.items())


def files(out):
    """Names of all files, those that are hidden too."""
    return sorted(path.name for path in out.rglob("*") if path.is_file())


def fill_disk(monkeypatch, is_refused):
    """Have the disk be full half-way through every file that `is_refused(path)` says."""
    for kind in ("write_bytes", "write_text"):
        write = getattr(Path, kind)

        def refuse(self, content, *args, write=write, **options):
            if not is_refused(self):
                return write(self, content, *args, **options)
            write(self, content[: len(content) // 2], *args, **options)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, kind, refuse)


@pytest.mark.parametrize("name", [LEARNT_FILE, RECORD_FILE])
def test_a_full_disk_loses_no_finished_run_and_leaves_no_half_file(run, undisturbed, tmp_path, monkeypatch, name):
    with monkeypatch.context() as full:
        fill_disk(full, lambda path: name in path.name and "seed2" in path.parent.name)
        with pytest.raises(OSError, match=rf"No space left on device; make room and start again.*seed2.*{name}"):
            run()
    records, problems = read_records(tmp_path / "runs")
    assert [record.label for record in records] == ["coop", "zero_shot"]
    assert not problems
    assert not [left for left in files(tmp_path / "runs") if left.startswith(".")]
    begun, failures = run()
    assert len(begun) == 1
    assert not failures
    assert_same(results(tmp_path / "runs"), undisturbed)
    assert files(tmp_path / "runs") == sorted(RESULTS)


def test_a_disk_too_full_for_checkpoints_ends_no_training(run, undisturbed, tmp_path, monkeypatch):
    fill_disk(monkeypatch, lambda path: path.parent.name == "checkpoints")
    with pytest.warns(UserWarning, match=r"no checkpoint after \d steps \(\[Errno 28\] No space left"):
        run()
    assert_same(results(tmp_path / "runs"), undisturbed)
    assert files(tmp_path / "runs") == sorted(RESULTS)


def unreadable(folder):
    (folder / "entry.json").unlink()
    (folder / "entry.json").mkdir()


def damaged(folder):
    rows = folder / "features.bin"
    rows.write_bytes(b"\x00" * rows.stat().st_size)


@pytest.mark.filterwarnings("ignore:.*adaptkit did not write")
@pytest.mark.parametrize("spoil", [unreadable, damaged])
def test_a_spoilt_cache_is_made_anew_and_changes_no_result(run, undisturbed, tmp_path, spoil):
    entries = [path.parent for path in (tmp_path / "cache").rglob("entry.json")]
    assert entries
    for folder in entries:
        spoil(folder)
    run()
    assert_same(results(tmp_path / "runs"), undisturbed)
    assert all((folder / "entry.json").is_file() for folder in entries)


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(run, undisturbed, tmp_path, monkeypatch):
    coop = method_class("coop")
    steps, loss = [], coop.loss

    def counted(self, x, labels):
        steps.append(1)
        if len(steps) == STEPS - 1:
            raise KeyboardInterrupt
        return loss(self, x, labels)

    monkeypatch.setattr(coop, "loss", counted)
    with pytest.raises(KeyboardInterrupt):
        run()
    *_, before, newest = sorted((tmp_path / "runs").rglob("checkpoints/*"))
    assert [path.name[:9] for path in (before, newest)] == ["000000003", "000000004"]
    newest.write_bytes(newest.read_bytes()[:-10])
    steps[:] = [1] * STEPS  # no more interruptions
    with pytest.warns(UserWarning, match="000000004-.* is not used: its bytes have changed"):
        run()
    assert len(steps) - STEPS == (STEPS - 3) + STEPS  # the rest of seed 1 from the third step on, and all of seed 2
    assert_same(results(tmp_path / "runs"), undisturbed)
    assert files(tmp_path / "runs") == sorted(RESULTS)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore lines."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2 GiB."),
        MemoryError(),
    ],
    ids=["device", "torch on the CPU", "Python"],
)
def test_memory_that_runs_out_fails_one_run_and_the_others_go_on(run, undisturbed, tmp_path, monkeypatch, error):
    coop = method_class("coop")
    steps, loss = [], coop.loss

    def too_large(self, x, labels):
        steps.append(1)
        if len(steps) == 3:
            raise error
        return loss(self, x, labels)

    with monkeypatch.context() as small:
        small.setattr(coop, "loss", too_large)
        begun, (failure,) = run()
    assert len(begun) == 3
    assert failure.startswith("coop on noise, seed 1: the device has not enough memory; lower OPTIM.BATCH_SIZE (now 2)")
    assert [record.seed for record in read_records(tmp_path / "runs")[0]] == [2, 0]
    begun, failures = run()
    assert len(begun) == 1
    assert not failures
    assert_same(results(tmp_path / "runs"), undisturbed)
    assert files(tmp_path / "runs") == sorted(RESULTS)


def test_other_errors_of_torch_are_not_taken_for_a_lack_of_memory(run, monkeypatch):
    def broken(self, x, labels):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(method_class("coop"), "loss", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run()


def test_a_backbone_that_the_device_has_no_room_for_is_one_error(run, monkeypatch):
    def too_large(*args, **options):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore lines.")

    monkeypatch.setattr(trainers.bench.plan, "load_backbone", too_large)
    with pytest.raises(ConfigError, match=r"cpu has not enough memory for adaptkit-mini; take a smaller .*2 GiB\.\)"):
        run()

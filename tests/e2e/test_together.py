"""Processes that train one run together, held against one process alone."""

import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch
from safetensors.torch import load_file

from trainers.bench.jobs import choose_launcher, run_all
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.config.values import ConfigError
from trainers.runs.records import LEARNT_FILE

WORDS = ["DATASETS", "[emoji_activities]", "METHODS", "[zero_shot, coop, promptsrc, clip_lora]", "SEEDS", "[1]"]
WORDS += ["SHOTS", "[1]", "OPTIM.EPOCHS", "2", "OPTIM.WARMUP_EPOCHS", "0", "THREADS", "1"]
WORDS += ["OPTIM.BATCH_SIZE", "7", "OPTIM.DROP_LAST", "false", "DEVICE", "cpu", "CLIP_LORA.DROPOUT", "0"]
WORDS += ["CHECKPOINT.STEPS", "3"]


@pytest.fixture
def matrix(tmp_path):
    """(words, out) -> label -> (record, learnt tensors)."""

    def run(*words, out="runs"):
        config = load_bench(overrides=[*WORDS, *words])
        shared = open_bench(config, tmp_path / out, tmp_path / "cache")
        todo = plan(config, shared)
        launcher = choose_launcher(config, todo, shared)
        records, failures = run_all(config, todo, shared, tmp_path / "cache", launcher, lambda event: None)
        assert not failures
        learnt = [run.folder / LEARNT_FILE for run in todo.runs]
        return {
            record.label: (record, load_file(path) if path.exists() else {})
            for record, path in zip(records, learnt, strict=True)
        }

    run.out = lambda name: tmp_path / name
    return run


def test_two_processes_learn_what_one_does_at_the_same_batches(matrix):
    alone, together = matrix("LAUNCH.WORKERS", "1"), matrix("LAUNCH.PROCESSES", "2")
    for label in ("promptsrc", "clip_lora"):  # fed with images; batches of 7, 7 and 2 rows
        (one, learnt), (two, ours) = alone[label], together[label]
        assert (two.identity["processes"], two.hardware["processes"]) == (2, "2")
        assert one.run_id != two.run_id
        assert two.final_loss == pytest.approx(one.final_loss, abs=1e-5)
        assert two.steps == one.steps
        for name, tensor in learnt.items():
            torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-5)
        assert any(not torch.equal(ours[name], tensor) for name, tensor in learnt.items())  # sums in another order
    assert together["coop"][0] == alone["coop"][0]  # fed with features: the same run, done once


def test_when_one_of_them_is_killed_all_go_on_from_the_checkpoint_with_the_same_bits(matrix):
    words = ["LAUNCH.PROCESSES", "2", "METHODS", "[clip_lora]", "CLIP_LORA.DROPOUT", "0.25", "OPTIM.EPOCHS", "4"]
    words += ["CHECKPOINT.STEPS", "1"]
    expected = matrix(*words)["clip_lora"]
    found: dict[str, object] = {}
    again = threading.Thread(target=lambda: found.update(matrix(*words, out="again")))
    again.start()
    folder = matrix.out("again")
    while not list(folder.rglob("checkpoints/*.safetensors")):
        time.sleep(0.01)
    os.kill(multiprocessing.active_children()[-1].pid, signal.SIGKILL)
    again.join(timeout=200)
    record, learnt = found["clip_lora"]
    assert record.scores == expected[0].scores
    assert all(torch.equal(learnt[name], tensor) for name, tensor in expected[1].items())


def test_a_batch_that_is_smaller_than_the_team_is_refused(matrix):
    with pytest.raises(ValueError, match=r"a batch of 1 cannot be shared by 2 processes; raise OPTIM\.BATCH_SIZE"):
        matrix("LAUNCH.PROCESSES", "2", "METHODS", "[ivlp]", "OPTIM.BATCH_SIZE", "1")


def test_only_one_launcher_and_worker_goes_with_processes():
    with pytest.raises(ConfigError, match=r"launch.processes is 2: .* workers 1 \(now 4\)"):
        load_bench(overrides=["LAUNCH.PROCESSES", "2", "LAUNCH.WORKERS", "4"])

"""Runs whose process is killed with SIGKILL at random moments, started again, and held against undisturbed ones."""

import os
import random
import signal
import time
import traceback
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import trainers.bench.plan
from datasets_fewshot import registry
from tests.helpers.synthetic import synthetic_dataset
from trainers.bench.jobs import performer, run_all
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.launchers import InProcess
from trainers.runs.records import LEARNT_FILE, read_record

# CoOp steps on cached features, PromptSRC averages over epochs, CLIP-LoRA draws dropout.
WORDS = ["METHODS", "[coop, promptsrc, clip_lora]", "SEEDS", "[1]", "SHOTS", "[2]", "DEVICE", "cpu"]
WORDS += ["OPTIM.EPOCHS", "4", "OPTIM.BATCH_SIZE", "1", "CHECKPOINT.STEPS", "1"]
WORDS += ["PROMPTSRC.N_CTX_TEXT", "1", "PROMPTSRC.N_CTX_VISION", "1", "COOP.N_CTX", "2", "COOP.CTX_INIT", "''"]
WORDS += ["CLIP_LORA.TEXT_BLOCKS", "[0]"]
KILLS = 30


@pytest.fixture
def run_matrix(monkeypatch, tiny_clip, tmp_path):
    """Run the matrix into a folder, in a process of its own, which can be killed: (folder) -> pid."""
    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", lambda root: synthetic_dataset(tmp_path / "images"))})
    monkeypatch.setattr(trainers.bench.plan, "load_backbone", lambda *args, **options: tiny_clip)
    synthetic_dataset(tmp_path / "images")

    def run(out: Path) -> None:
        config = load_bench(overrides=WORDS)
        shared = open_bench(config, out, tmp_path / "cache")
        todo = plan(config, shared)
        launcher = InProcess(performer(todo, shared), "cpu")
        _, failures = run_all(config, todo, shared, tmp_path / "cache", launcher, lambda event: None)
        assert not failures

    def start(out: Path) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            run(out)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    return start


def ended(pid: int, seconds: float) -> bool:
    """Whether the process ended well within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0
            return True
        time.sleep(0.005)
    return False


def results(out: Path) -> dict[str, tuple[dict[str, torch.Tensor], object]]:
    """Run -> learnt tensors and scores."""
    return {
        str(path.parent.relative_to(out)): (load_file(path), read_record(path.parent).scores)
        for path in sorted(out.rglob(LEARNT_FILE))
    }


def test_runs_that_are_killed_at_random_moments_end_with_the_same_bits(run_matrix, tmp_path):
    start = time.monotonic()
    assert ended(run_matrix(tmp_path / "undisturbed"), 300)
    seconds = time.monotonic() - start
    expected = results(tmp_path / "undisturbed")
    assert len(expected) == 3
    rng, kills, outs = random.Random(5), 0, [tmp_path / "killed0"]
    while kills < KILLS:
        pid = run_matrix(outs[-1])
        if ended(pid, rng.uniform(0.05, 0.6) * seconds):
            outs.append(tmp_path / f"killed{len(outs)}")
            continue
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kills += 1
    assert ended(run_matrix(outs[-1]), 300)
    for out in outs:
        found = results(out)
        assert found.keys() == expected.keys()
        for name, (learnt, scores) in found.items():
            assert scores == expected[name][1]
            assert all(torch.equal(learnt[key], value) for key, value in expected[name][0].items())
        left = [path.name for path in out.rglob("*") if path.is_file()]
        assert sorted(set(left)) == [LEARNT_FILE, "record.json"]

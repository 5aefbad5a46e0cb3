"""The same matrix through every launcher, in any order and with any number of workers: equal to the last bit."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from trainers.bench.jobs import performer, run_all
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.launchers import InProcess, Local
from trainers.launchers.ray import Ray
from trainers.launchers.slurm import Slurm
from trainers.runs.records import LEARNT_FILE

WORDS = ["DATASETS", "[emoji_activities, emoji_food]", "METHODS", "[zero_shot, coop, ivlp]", "SEEDS", "[1]"]
WORDS += ["SHOTS", "[1]", "OPTIM.EPOCHS", "1", "OPTIM.BATCH_SIZE", "8", "THREADS", "1", "DEVICE", "cpu"]


@pytest.fixture
def matrix(tmp_path):
    """(launcher, or None for this process) -> run folder's name -> (learnt tensors, scores)."""

    def run(launcher=None, backwards=False):
        config = load_bench(overrides=WORDS)
        shared = open_bench(config, tmp_path / "runs", tmp_path / "cache")
        todo = plan(config, shared)
        if backwards:
            todo = replace(todo, runs=todo.runs[::-1])
        launcher = launcher or InProcess(performer(todo, shared), "cpu")
        records, failures = run_all(config, todo, shared, tmp_path / "cache", launcher, lambda event: None)
        assert not failures
        assert len(records) == len(todo.to_do) == 6
        found = {}
        for todo_run, record in zip(todo.runs, records, strict=True):
            learnt = todo_run.folder / LEARNT_FILE
            found[record.run_id] = (load_file(learnt) if learnt.exists() else {}, record.scores)
        return found

    return run


@pytest.fixture(scope="module")
def expected():
    return {}


def agree(found, expected):
    """Hold the results against those of the launcher that was tested first."""
    if not expected:
        expected |= found
    assert found.keys() == expected.keys()
    for key, (learnt, scores) in found.items():
        assert scores == expected[key][1]
        assert learnt.keys() == expected[key][0].keys()
        assert all(torch.equal(learnt[name], value) for name, value in expected[key][0].items())


def test_one_process(matrix, expected):
    agree(matrix(), expected)


def test_one_process_backwards(matrix, expected):
    agree(matrix(backwards=True), expected)


def test_two_local_workers(matrix, expected):
    agree(matrix(Local(("cpu", "cpu"))), expected)


@pytest.mark.slow
def test_ray(matrix, expected):
    pytest.importorskip("ray", reason="ray is not installed")
    agree(matrix(Ray(2, "cpu")), expected or matrix())


@pytest.mark.slow
def test_slurm(matrix, expected, tmp_path):
    pytest.importorskip("submitit", reason="submitit is not installed")
    agree(matrix(Slurm(2, "cpu", tmp_path / "slurm", "local")), expected or matrix())

"""Processes that train one run together, held against one process alone.

Their sums go in another order, so the gradients of a batch differ in the last digits. How much of that is left in what
is learnt depends on the optimiser: Adam divides a gradient by its own size, and makes of the rounding of one that
should be 0 a whole step, on some processors. So runs are compared with SGD, and Adam's steps in float64.
"""

import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from adaptkit import create_method
from tests.helpers.models import build, default_dtype
from trainers.bench.jobs import choose_launcher, run_all
from trainers.bench.plan import open_bench, plan
from trainers.compute.team import ALONE, join_team
from trainers.config.load import load_bench
from trainers.config.training import OptimConfig
from trainers.config.values import ConfigError
from trainers.launchers.local import fresh_processes
from trainers.runs.records import LEARNT_FILE
from trainers.training.few_shot import train

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


def relative_difference(ours, theirs):
    """Of two tensors, by their norms."""
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.slow
def test_two_processes_learn_what_one_does_at_the_same_batches(matrix):
    alone = matrix("LAUNCH.WORKERS", "1", "OPTIM.NAME", "sgd")
    together = matrix("LAUNCH.PROCESSES", "2", "OPTIM.NAME", "sgd")
    untrained = matrix("LAUNCH.WORKERS", "1", "OPTIM.EPOCHS", "0")
    for label in ("promptsrc", "clip_lora"):  # fed with images; batches of 7, 7 and 2 rows
        (one, learnt), (two, ours), (_, start) = alone[label], together[label], untrained[label]
        assert (two.identity["processes"], two.hardware["processes"]) == (2, "2")
        assert one.run_id != two.run_id
        assert two.final_loss == pytest.approx(one.final_loss, abs=1e-5)
        assert two.steps == one.steps
        for name, tensor in learnt.items():
            assert relative_difference(ours[name] - start[name], tensor - start[name]) < 1e-4, name
        assert any(not torch.equal(ours[name], tensor) for name, tensor in learnt.items())  # sums in another order
    assert together["coop"][0] == alone["coop"][0]  # fed with features: the same run, done once


METHODS = {"promptsrc": {}, "clip_lora": {"dropout": 0.0}}
STAGED = "two_stage"  # some of its tensors have no gradient in some steps


def make_method(name, dtype):
    """The same numbers in every precision; none learnt is 0, as half of LoRA's are at first, so all have gradients."""
    torch.manual_seed(0)
    method = create_method(
        name, build("clip_vit"), ("golden retriever", "ramen", "highway_or_road"), **METHODS.get(name, {})
    )
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter += 0.05 * torch.randn_like(parameter)
    return method.to(dtype).train()


def batches_of(team, dtype):
    """Its rows of batches of 7, 7 and 2."""
    generator, batches = torch.Generator().manual_seed(0), []
    for size in (7, 7, 2):
        images, rows = torch.randn(size, 3, 32, 32, generator=generator), slice(*team.share(0, size))
        batches.append((images[rows].to(dtype), torch.arange(size)[rows] % 3))
    return batches


def first_gradients(team, name, dtype):
    """Of the whole first batch, as this member of the team has them."""
    method, batches = make_method(name, dtype), batches_of(team, dtype)
    with default_dtype(dtype):
        team.trainee(method).backward(*batches[0])
    return {key: parameter.grad for key, parameter in method.learnt_parameters().items()}


def learnt_with_adam(team, name):
    """After six steps of about a thousandth, in float64."""
    method, batches = make_method(name, torch.float64), batches_of(team, torch.float64)
    with default_dtype(torch.float64):
        train(method, batches, OptimConfig("adamw", lr=0.001, epochs=2, warmup_epochs=0), team=team)
    return method.learnt_state()


def found_by(team):
    """name -> what of it -> learnt tensor -> value."""
    return {
        name: {
            "float32": first_gradients(team, name, torch.float32),
            "float64": first_gradients(team, name, torch.float64),
            "learnt": learnt_with_adam(team, name),
        }
        for name in METHODS
    } | {STAGED: {"learnt": learnt_with_adam(team, STAGED)}}


def be_one_of_two(rank, folder):
    """A process of a team: leaves what it finds in the folder."""
    torch.set_num_threads(1)
    team = join_team(rank, 2, folder / "meeting", torch.device("cpu"), "fp32")
    torch.save(found_by(team), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By one process alone, and by each of two."""
    folder = tmp_path_factory.mktemp("two")
    method = fresh_processes().get_start_method()
    torch.multiprocessing.start_processes(be_one_of_two, args=(folder,), nprocs=2, start_method=method)
    return found_by(ALONE), *(torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1))


def largest_difference(ours, theirs):
    """Between tensors of the same name, each relative to its norm."""
    assert ours.keys() == theirs.keys()
    return max(relative_difference(ours[key].double(), tensor.double()) for key, tensor in theirs.items())


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_have_the_gradients_of_the_whole_batch(found, name):
    alone, *team = (by[name] for by in found)
    rounding = largest_difference(alone["float32"], alone["float64"])  # of one process's gradients, on this processor
    assert rounding < 1e-4
    for together in team:
        assert largest_difference(together["float64"], alone["float64"]) < 1e-12
        assert largest_difference(together["float32"], alone["float32"]) < 4 * rounding


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_step_as_one_does_with_adam_too(found, name):
    alone, *team = (by[name]["learnt"] for by in found)
    for together in team:
        for key, tensor in alone.items():
            torch.testing.assert_close(together[key], tensor, rtol=0, atol=1e-9)  # a millionth of a step


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
        matrix("LAUNCH.PROCESSES", "2", "METHODS", "[clip_lora]", "OPTIM.BATCH_SIZE", "1")


def test_only_one_launcher_and_worker_goes_with_processes():
    with pytest.raises(ConfigError, match=r"processes=2; .* workers 1 \(now 4\)"):
        load_bench(overrides=["LAUNCH.PROCESSES", "2", "LAUNCH.WORKERS", "4"])


def test_both_stages_of_a_training_are_shared(found):
    alone, *members = found
    for member in members:
        assert largest_difference(member[STAGED]["learnt"], alone[STAGED]["learnt"]) < 1e-9

"""Runs that differ in their seed alone learn in one loop, and end as each of them does on its own."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

import trainers.bench.plan
from adaptkit import list_methods, method_class
from datasets_fewshot import registry
from datasets_fewshot.store.claims import Claim
from tests.helpers.synthetic import synthetic_dataset
from trainers.bench.jobs import jobs_of, most_side_by_side, performer, run_all
from trainers.bench.plan import open_bench, plan
from trainers.config.load import load_bench
from trainers.launchers import InProcess
from trainers.launchers.base import CLAIM_FILE
from trainers.runs.records import LAST_GOOD_FILE, LEARNT_FILE, RECORD_FILE, read_record

WORDS = ["METHODS", "[zero_shot, coop]", "SHOTS", "[2]", "SEEDS", "[1, 2, 3]", "OPTIM.EPOCHS", "3", "DEVICE", "cpu"]
WORDS += ["OPTIM.BATCH_SIZE", "2", "OPTIM.STEPS", "0", "CHECKPOINT.STEPS", "1", "PROTOCOL", "few_shot"]
COOP = ["COOP.N_CTX", "2", "COOP.CTX_INIT", "''"]
STEPS = 12  # of a training: 8 images in batches of 2, three times
TOLERANCE = 1e-5  # of the norm of a learnt tensor
ALONE = ["LAUNCH.REPLICAS", "1"]
PASSING = {"seconds": {}, "peak_memory_mb": None, "finished": "", "side_by_side": 1}


WITH_REPLICAS = [name for name in list_methods() if "backward_replicas" in method_class(name).provides]


@pytest.fixture
def run(monkeypatch, tiny_clip, tmp_path):
    """(words, out) -> folder name of each run -> (record, learnt tensors), with `told` and `failures` beside them."""
    loader = lambda root, **options: synthetic_dataset(tmp_path / "images")  # noqa: E731
    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", loader)})
    monkeypatch.setattr(trainers.bench.plan, "load_backbone", lambda *args, **options: tiny_clip)

    def start(*words, out="runs"):
        config = load_bench(overrides=[*WORDS, *(() if "METHODS" in words else COOP), *words])
        shared = open_bench(config, tmp_path / out, tmp_path / "cache")
        start.todo, start.told = plan(config, shared), []
        launcher = InProcess(performer(start.todo, shared), "cpu")
        _, start.failures = run_all(config, start.todo, shared, tmp_path / "cache", launcher, start.told.append)
        return found(tmp_path / out)

    return start


def found(out):
    folders = [path.parent for path in out.rglob(RECORD_FILE)]
    learnt = {folder: folder / LEARNT_FILE for folder in folders}
    return {
        folder.name: (read_record(folder), load_file(path) if path.exists() else {}) for folder, path in learnt.items()
    }


def assert_same(ours, theirs):
    """Equal records but for times and rounding: accuracies are equal where no two classes are tied."""
    assert ours.keys() == theirs.keys()
    for name, (record, learnt) in theirs.items():
        own, tensors = ours[name]
        assert own.final_loss == (record.final_loss and pytest.approx(record.final_loss, rel=TOLERANCE))
        for score, expected in zip(own.scores, record.scores, strict=True):
            assert score.metrics == pytest.approx(expected.metrics, rel=1e-4)
            assert (score.hits, score.correct, score.items_hash) == (
                expected.hits,
                expected.correct,
                expected.items_hash,
            )
        bare = partial(replace, scores=(), final_loss=None, **PASSING)
        assert bare(own) == bare(record)
        assert own.seconds.keys() == record.seconds.keys()
        assert tensors.keys() == learnt.keys()
        for key, tensor in learnt.items():
            assert (tensors[key] - tensor).float().norm() <= TOLERANCE * tensor.float().norm(), (name, key)


def with_seed(results, seed):
    return next(record for record, _ in results.values() if record.seed == seed)


def counted_steps(monkeypatch, stop_at=None):
    """Count CoOp's steps of replicas, as how many learnt in each; a Ctrl-C comes before step `stop_at`."""
    coop, steps = method_class("coop"), []
    step = coop.backward_replicas

    def counted(self, replicas, x, labels):
        if len(steps) == stop_at:
            raise KeyboardInterrupt
        steps.append(len(replicas))
        return step(self, replicas, x, labels)

    monkeypatch.setattr(coop, "backward_replicas", counted)
    return steps


def interrupt(run, monkeypatch, stop_at):
    """Run, and press Ctrl-C before a step of CoOp's replicas."""
    with monkeypatch.context() as interrupted:
        counted_steps(interrupted, stop_at)
        with pytest.raises(KeyboardInterrupt):
            run()


@pytest.mark.parametrize("name", WITH_REPLICAS)
def test_side_by_side_ends_where_each_run_ends_alone(run, name):
    words = ["METHODS", f"[{name}]", "OPTIM.LABEL_SMOOTHING", "0.1", "OPTIM.CLIP_NORM", "1.0"]
    together = run(*words, out="together")
    assert [record.side_by_side for record, _ in together.values()] == [3, 3, 3]
    alone = run(*words, *ALONE, out="alone")
    assert [record.side_by_side for record, _ in alone.values()] == [1, 1, 1]
    assert_same(together, alone)


def test_the_time_of_a_loop_is_shared_out_equally(run):
    together = run()
    shares = {record.seconds["train"] for record, _ in together.values() if record.method == "coop"}
    assert len(shares) == 1


def test_events_tell_of_every_run(run):
    run()
    keys = {run.run_id for run in run.todo.runs if run.config.method == "coop"}
    for kind in ("start", "done"):
        assert sorted(event.key for event in run.told if event.kind == kind and event.key in keys) == sorted(keys)
    for key in keys:
        assert [event.epochs for event in run.told if (event.kind, event.key) == ("epoch", key)] == [1, 2, 3]


def test_records_of_either_way_are_reused(run, monkeypatch):
    first = run("SEEDS", "[2]")
    steps = counted_steps(monkeypatch)
    again = run()
    assert steps == [2] * STEPS  # the other two
    assert with_seed(again, 2) == with_seed(first, 2)
    run(*ALONE)
    assert len(steps) == STEPS


def test_a_run_that_another_process_holds_is_left_out(run, monkeypatch, tmp_path):
    undisturbed = run(out="undisturbed")
    held = next(name for name in undisturbed if name.startswith("coop") and "seed2" in name)
    claim = Claim(tmp_path / "runs" / "few_shot" / "noise" / held / CLAIM_FILE)
    assert claim.take()
    steps, told = counted_steps(monkeypatch), []
    release = claim.release
    coop, loss = method_class("coop"), method_class("coop").loss
    monkeypatch.setattr(coop, "loss", lambda self, *batch: (told.append("alone"), loss(self, *batch))[1])
    monkeypatch.setattr("trainers.launchers.base.time.sleep", lambda seconds: release())  # the other process is gone
    assert_same(run(), undisturbed)
    assert steps == [2] * STEPS
    assert len(told) == STEPS


@pytest.mark.parametrize("stop_at", [1, 6, STEPS - 1])
def test_what_is_interrupted_goes_on_in_company(run, monkeypatch, stop_at):
    undisturbed = run(out="undisturbed")
    interrupt(run, monkeypatch, stop_at)
    steps = counted_steps(monkeypatch)
    assert_same(run(), undisturbed)
    assert steps == [3] * (STEPS - stop_at)
    assert all(event.epochs > stop_at // 4 for event in run.told if event.kind == "epoch")


def test_what_is_interrupted_in_company_goes_on_alone_and_the_other_way_round(run, monkeypatch):
    undisturbed = run(out="undisturbed")
    interrupt(run, monkeypatch, 6)
    assert_same(run(*ALONE), undisturbed)
    assert [record.side_by_side for record, _ in found(run.todo.runs[0].folder.parents[2]).values()] == [1] * 4

    coop, losses = method_class("coop"), []
    loss = coop.loss

    def stopped(self, *batch):
        losses.append(1)
        if len(losses) == 6:
            raise KeyboardInterrupt
        return loss(self, *batch)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(coop, "loss", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(*ALONE, out="other")
    steps = counted_steps(monkeypatch)
    assert_same(run(out="other"), undisturbed)
    assert steps == [1] * (STEPS - 5) + [2] * STEPS  # seed 1 goes on from its checkpoint, the others begin


def test_a_replica_that_diverges_fails_alone_and_says_what_its_own_training_says(run, monkeypatch):
    undisturbed = run(out="undisturbed")
    coop = method_class("coop")
    step, loss, steps = coop.backward_replicas, coop.loss, []

    def breaking(self, replicas, x, labels):
        steps.append(1)
        losses = step(self, replicas, x, labels)
        return losses * torch.tensor([1.0, float("nan") if len(steps) == 6 else 1.0, 1.0])

    with monkeypatch.context() as broken:
        broken.setattr(coop, "backward_replicas", breaking)
        together = run()
    (failure,) = run.failures
    assert [event.kind for event in run.told].count("failed") == 1
    assert_same(together, {name: one for name, one in undisturbed.items() if "seed2" not in name})
    folder = next(run.folder for run in run.todo.runs if run.identity["seed"] == 2)
    assert load_file(folder / LAST_GOOD_FILE)["context.ctx"].isfinite().all()
    assert not list((folder / "checkpoints").glob("*.safetensors"))

    steps.clear()

    def breaking_alone(self, x, labels):
        steps.append(1)
        return loss(self, x, labels) * (float("nan") if len(steps) == 6 else 1.0)

    with monkeypatch.context() as broken:
        broken.setattr(coop, "loss", breaking_alone)
        run("SEEDS", "[2]", out="alone")
    assert run.failures[0].replace("alone", "runs") == failure
    assert_same(run(), undisturbed)  # a later command tries again
    assert not (folder / LAST_GOOD_FILE).exists()


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_where_memory_is_short_for_all_runs_they_are_trained_one_by_one(run, monkeypatch, error):
    undisturbed = run(out="undisturbed")

    def too_large(self, replicas, x, labels):
        raise error

    monkeypatch.setattr(method_class("coop"), "backward_replicas", too_large)
    with pytest.warns(UserWarning, match="coop on noise: there is not enough memory to train 3 runs side by side"):
        assert_same(run(), undisturbed)
    assert not run.failures


def test_other_errors_end_the_command(run, monkeypatch):
    def broken(self, replicas, x, labels):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(method_class("coop"), "backward_replicas", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run()
    assert not list(run.todo.runs[1].folder.glob(f"{CLAIM_FILE}*"))


def units_of(jobs):
    units = {}
    for job in jobs:
        units.setdefault(job.alike, []).append(job.key)
    return [len(unit) for unit in units.values()]


@pytest.mark.parametrize(
    ("words", "units"),
    [
        (["SEEDS", "[1, 2, 3, 4, 5]", "LAUNCH.REPLICAS", "2"], [1, 2, 2, 1]),  # zero-shot is one run
        (["SEEDS", "[1, 2, 3]"], [1, 3]),
        (["LAUNCH.REPLICAS", "1"], [1, 1, 1, 1]),
        (["LAUNCH.WORKERS", "4"], [1, 1, 1, 1]),  # a worker each
        (["LAUNCH.WORKERS", "2"], [1, 2, 1]),
        (["SHOTS", "[1, 2]"], [1, 3, 3]),
        (["WRAP", "[token_merging]"], [1] * 4),
        (["OBJECTIVE", "[ogen]"], [1] * 4),
        (["LAUNCH.PROCESSES", "2"], [1] * 4),
        (["METHODS", "[coop, linear_probe]"], [3, 1, 1, 1]),
        (["OPTIM.EPOCHS", "0"], [1] * 4),
    ],
)
def test_units_are_runs_of_one_kind_as_many_as_leave_no_worker_idle(run, tmp_path, words, units):
    config = load_bench(overrides=[*WORDS, *COOP, *words])
    todo = plan(config, open_bench(config, tmp_path / "runs", tmp_path / "cache"))
    most = most_side_by_side(config, len(todo.to_do), torch.device("cpu"))
    assert units_of(jobs_of(todo, most)) == units

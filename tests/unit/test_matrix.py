import pytest
import torch
from safetensors.torch import load_file

import trainers.matrix
from adaptkit import list_methods, method_class
from datasets_fewshot import registry
from tests.synthetic import NAMES, synthetic_dataset
from trainers.config import load_bench
from trainers.config_values import ConfigError
from trainers.matrix import open_bench, plan, run_all
from trainers.protocols import base_to_novel, few_shot
from trainers.records import LEARNT_FILE, RECORD_FILE

SHORT = ["METHODS", "[zero_shot, coop]", "SHOTS", "[2]", "SEEDS", "[1, 2]", "OPTIM.EPOCHS", "3"]
SHORT += ["COOP.N_CTX", "2", "COOP.CTX_INIT", "''"]


@pytest.fixture
def bench(monkeypatch, tiny_clip, tmp_path):
    """(overrides) -> (config, what all its runs share), on one data set of four classes."""
    loader = lambda root, **options: synthetic_dataset(tmp_path / "images")  # noqa: E731
    monkeypatch.setattr(registry, "_LOADERS", {"noise": ("mini", loader)})
    monkeypatch.setattr(trainers.matrix, "load_backbone", lambda *args, **options: tiny_clip)

    def make(*overrides: str, out="runs"):
        config = load_bench(overrides=[*SHORT, "DEVICE", "cpu", *overrides])
        return config, open_bench(config, tmp_path / out, tmp_path / "cache")

    return make


def run_quietly(config, shared, fresh=False):
    started = []
    records = run_all(plan(config, shared, fresh), shared, started.append, lambda run, epoch: None, lambda record: None)
    return records, started


def test_zero_shot_runs_once_and_coop_once_per_seed(bench):
    todo = plan(*bench())
    assert [(run.config.method, run.identity["seed"]) for run in todo.runs] == [
        ("zero_shot", 0), ("coop", 1), ("coop", 2),
    ]  # fmt: skip
    assert todo.to_do == todo.runs


def test_one_training_gives_two_tests(bench):
    records, _ = run_quietly(*bench())
    coop = records[1]
    assert [(score.name, score.classnames, score.total) for score in coop.scores] == [
        ("base", NAMES[:2], 6), ("new", NAMES[2:], 6),
    ]  # fmt: skip
    assert (coop.train_items, coop.epochs, coop.steps, coop.trainable_parameters) == (4, 3, 3, 128)
    assert coop.final_loss is not None


def test_few_shot_tests_all_classes(bench):
    records, _ = run_quietly(*bench("PROTOCOL", "few_shot", "METHODS", "[coop]", "SEEDS", "[1]"))
    assert [(score.name, score.total) for score in records[0].scores] == [("all", 12)]
    assert records[0].train_items == 8


def test_finished_runs_are_reused_and_fresh_ones_computed(bench):
    config, shared = bench()
    first, started = run_quietly(config, shared)
    assert len(started) == 3
    again, started = run_quietly(config, shared)
    assert started == []
    assert again == first
    _, started = run_quietly(config, shared, fresh=True)
    assert len(started) == 3


def test_a_damaged_record_is_reported_and_computed_again(bench):
    config, shared = bench()
    run_quietly(config, shared)
    folder = plan(config, shared).runs[1].folder
    (folder / RECORD_FILE).write_text("{")
    todo = plan(config, shared)
    assert len(todo.problems) == 1
    assert [run.folder for run in todo.to_do] == [folder]


def test_a_run_repeats_exactly_whatever_ran_before(bench):
    config, shared = bench(out="one")
    records, _ = run_quietly(config, shared)
    torch.rand(1000)
    alone, elsewhere = bench("METHODS", "[coop]", "SEEDS", "[2]", out="two")
    repeated, _ = run_quietly(alone, elsewhere)
    ours = plan(config, shared).runs[2].folder / LEARNT_FILE
    theirs = plan(alone, elsewhere).runs[0].folder / LEARNT_FILE
    assert repeated[0].run_id == records[2].run_id
    assert repeated[0].scores == records[2].scores
    assert load_file(ours).keys() == {"context.ctx"}
    assert torch.equal(load_file(ours)["context.ctx"], load_file(theirs)["context.ctx"])


def test_a_bench_leaves_the_global_generator_alone(bench):
    before = torch.random.get_rng_state()
    run_quietly(*bench())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "overrides",
    [
        ["OPTIM.LR", "0.1"],
        ["COOP.N_CTX", "3"],
        ["VIEWS.AUGMENT", "pool"],
        ["SHOTS", "[3]"],
        ["PROTOCOL", "few_shot"],
        ["PRECISION", "bf16"],
        ["SEEDS", "[3, 4]"],
    ],
    ids=" ".join,
)
def test_what_changes_a_result_changes_the_run_id(bench, overrides):
    ids = [{run.run_id for run in plan(*bench("METHODS", "[coop]", *extra)).runs} for extra in ([], overrides)]
    assert not ids[0] & ids[1]


def test_places_and_worker_counts_do_not_change_the_run_id(bench):
    ids = [
        {run.run_id for run in plan(*bench("METHODS", "[coop]", *extra, out=out)).runs}
        for extra, out in (([], "one"), (["DATA.WORKERS", "1", "DATA.ROOT", "/elsewhere"], "two"))
    ]
    assert ids[0] == ids[1]


def test_runs_are_ordered_by_data_set_and_seed(bench, monkeypatch, tmp_path):
    loader = lambda root, **options: synthetic_dataset(tmp_path / "images")  # noqa: E731
    monkeypatch.setattr(registry, "_LOADERS", {name: ("mini", loader) for name in ("b", "a")})
    todo = plan(*bench("METHODS", "[coop]"))
    assert [(run.config.dataset, run.config.seed) for run in todo.runs] == [("b", 1), ("b", 2), ("a", 1), ("a", 2)]


def test_training_never_sees_the_new_classes(tmp_path):
    dataset = synthetic_dataset(tmp_path)
    task = base_to_novel(dataset, shots=2, seed=1)
    assert task.classnames == NAMES[:2]
    assert {item.label for item in task.train} == {0, 1}
    assert {item.classname for item in task.train} == set(NAMES[:2])


def test_base_to_novel_halves_the_draw_of_all_classes(tmp_path):
    dataset = synthetic_dataset(tmp_path)
    everything = few_shot(dataset, shots=2, seed=1)
    base = base_to_novel(dataset, shots=2, seed=1)
    assert base.train == tuple(item for item in everything.train if item.label < 2)


def test_class_bound_methods_are_refused_before_any_run(bench):
    config, shared = bench("METHODS", "[coop]", "COOP.CLASS_SPECIFIC", "true")
    with pytest.raises(ConfigError, match="coop cannot run in base_to_novel"):
        plan(config, shared)


@pytest.mark.parametrize(("n_views", "shape"), [(0, (4, 32)), (3, (4, 3, 32))])
def test_a_method_that_keeps_training_images_gets_them_in_the_views_it_asks_for(bench, monkeypatch, n_views, shape):
    seen = []
    zero_shot = method_class("zero_shot")
    monkeypatch.setattr(zero_shot, "prepare", lambda self, support: seen.append(support), raising=False)
    monkeypatch.setattr(zero_shot, "support_views", n_views, raising=False)
    config, shared = bench("METHODS", "[zero_shot]")
    records, _ = run_quietly(config, shared)
    assert [record.seed for record in records] == [1, 2]  # it depends on the shots now, so every seed counts
    task = base_to_novel(synthetic_dataset(shared.out.parent / "images"), 2, 1)
    assert seen[0].labels.tolist() == [item.label for item in task.train]
    assert seen[0].x.shape == shape


def test_a_method_that_tunes_itself_gets_validation_images_of_its_classes(bench, monkeypatch):
    seen = []
    zero_shot = method_class("zero_shot")
    monkeypatch.setattr(zero_shot, "tune", lambda self, validation: seen.append(validation), raising=False)
    run_quietly(*bench("METHODS", "[zero_shot]", "SEEDS", "[1]"))
    assert seen[0].labels.tolist() == [0, 0, 1, 1]
    assert seen[0].x.shape == (4, 32)


@pytest.mark.parametrize("name", list_methods())
def test_every_method_runs_through_the_same_loop(bench, name):
    records, _ = run_quietly(*bench("PROTOCOL", "few_shot", "METHODS", f"[{name}]", "SEEDS", "[1]"))
    assert records[0].scores[0].total == 12
    assert bool(records[0].steps) == bool(records[0].trainable_parameters)


def test_records_of_methods_that_learn_nothing_say_so(bench):
    records, _ = run_quietly(*bench())
    zero_shot = records[0]
    assert (zero_shot.deterministic, zero_shot.shots, zero_shot.seed, zero_shot.train_items) == (True, 0, 0, 0)
    assert zero_shot.notes == ()


@pytest.mark.parametrize("name", ["coop", "maple"])
def test_towers_may_run_in_bf16_while_learnt_tensors_stay_fp32(bench, name):
    config, shared = bench("METHODS", f"[{name}]", "SEEDS", "[1]", "PRECISION", "bf16")
    records, _ = run_quietly(config, shared)
    assert records[0].identity["precision"] == "bf16"
    learnt = load_file(plan(config, shared).runs[0].folder / LEARNT_FILE)
    assert {tensor.dtype for tensor in learnt.values()} == {torch.float32}

"""The search in front of a training: which images teach and which rate, and what is left of it."""

import json
from dataclasses import replace

import pytest

from adaptkit import create_method
from adaptkit.contract.architecture import Choice
from adaptkit.wrappers import DASConfig
from datasets_fewshot import Item
from tests.helpers.records import make_record
from trainers.config.load import load_bench
from trainers.protocols.task import Task
from trainers.runs.records import ResultRecord, read_record, write_record
from trainers.runs.search import adamw, split_for_rewards, train_step
from trainers.studies.das.controls import control_configs, summarise


def task(shots, val=()):
    """Two classes, their images mixed as a draw may have them."""
    items = [Item(f"{label}/{shot}.png", label, str(label)) for shot in range(shots) for label in (0, 1)]
    return Task(tuple(items), val, ("0", "1"), ())


@pytest.mark.parametrize(("shots", "kept"), [(4, 1), (5, 2), (8, 2), (16, 4)])
def test_the_last_quarter_of_each_class_rates_and_does_not_teach(shots, kept):
    train, rewards = split_for_rewards(task(shots), "held_out")
    assert len(train) == 2 * (shots - kept)
    assert {item.path for item in rewards} == {
        f"{label}/{shots - 1 - back}.png" for label in (0, 1) for back in range(kept)
    }
    assert not set(train) & set(rewards)


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_few_images_do_both(shots):
    train, rewards = split_for_rewards(task(shots), "held_out")
    assert set(train) == set(rewards) == set(task(shots).train)


def test_validation_images_rate_where_that_is_asked_for():
    val = (Item("v.png", 0, "0"),)
    assert split_for_rewards(task(4, val), "val") == (task(4).train, val)
    with pytest.raises(ValueError, match="no validation images; use 'held_out'"):
        split_for_rewards(task(4), "val")


def test_a_record_keeps_its_architecture_and_older_ones_have_none(tmp_path):
    skipping = replace(make_record(), architecture={"vision": {"depth": 6, "skipped": [1]}})
    write_record(skipping, tmp_path / "new")
    assert read_record(tmp_path / "new").architecture == skipping.architecture
    write_record(make_record(), tmp_path / "old")
    content = json.loads((tmp_path / "old" / "record.json").read_text())
    del content["architecture"], content["checksums"]
    (tmp_path / "old" / "record.json").write_text(json.dumps(content))
    assert read_record(tmp_path / "old").architecture is None


def test_every_control_is_a_bench_of_its_own():
    few = {"METHODS": ["zero_shot"], "DATASETS": ["emoji_food"]}
    configs = control_configs(None, {**few, "DAS.SKIP_TEXT": 0, "DAS.ENCODER": "vision"}, [1, 2])
    assert len(configs) == 1 + 2 * 9
    options = {name: dict(config.runs[0].wrap)["das"] for name, config in configs.items()}
    assert (options["no skip"].skip_vision, options["no skip"].skip_text) == (0, 0)
    assert (options["random 3, 2 skipped"].select, options["random 3, 2 skipped"].draw) == ("random", 3)
    assert len({run for config in configs.values() for run in config.runs}) == 19 * len(configs["no skip"].runs)


def test_the_other_controls_may_have_seeds_of_their_own():
    configs = control_configs(None, {"METHODS": ["zero_shot"], "DATASETS": ["emoji_food"], "SEEDS": [1, 2]}, [2], [3])
    seeds = {name: [run.seed for run in config.runs] for name, config in configs.items()}
    assert seeds.pop("no skip") == seeds.pop("das, 2 skipped") == [1, 2]
    assert set(map(tuple, seeds.values())) == {(3,)}


def with_skips(blocks, base, new, **changes) -> ResultRecord:
    plan = {"vision": {"depth": 6, "skipped": blocks}, "text": {"depth": 3, "skipped": []}}
    architecture = {**plan, "macs": {"image": 70, "image_as_loaded": 100}}
    one = make_record()
    accuracies = {"base": base, "new": new}
    scores = tuple(replace(one.scores[0], name=name, metrics={"accuracy": accuracies[name]}) for name in accuracies)
    return replace(one, scores=scores, architecture=architecture, **changes)


def test_a_control_is_summed_up_over_its_runs():
    row = summarise(
        "das, 1 skipped",
        [
            with_skips([1], 60.0, 60.0, dataset="a", seed=1),
            with_skips([2], 40.0, 40.0, dataset="a", seed=2),
            with_skips([1], 80.0, 80.0, dataset="b", seed=1),
            with_skips([1], 80.0, 80.0, dataset="b", seed=2),
        ],
    )
    assert row.accuracy == {"base": 65.0, "new": 65.0, "H": 65.0}
    assert row.by_run == {"a, 1": 60.0, "a, 2": 40.0, "b, 1": 80.0, "b, 2": 80.0}
    assert row.std_over_seeds == 5.0
    assert row.chosen == {"1": 3, "2": 1}
    assert (row.image_macs, row.image_macs_as_loaded) == (70, 100)


def test_the_embedded_suite_has_a_case_for_das():
    config = load_bench(overrides=["WRAP", "[das]", "METHODS", "[coop]"])
    assert config.runs[0].optim.name == "adamw"
    assert dict(config.runs[0].wrap)["das"].searches == 1


def test_a_step_leaves_adapters_that_are_not_in_use_to_themselves(tiny_clip, batch):
    options = DASConfig(skip_vision=1, skip_text=0, encoder="vision")
    method = create_method("zero_shot", tiny_clip, ["cat", "dog"], wrap=[("das", options)])
    search = method.search()
    optimizer = adamw(method, search)
    search.use(Choice((1,), ()))
    before = method.learnt_state()
    train_step(method, optimizer, (batch[0], batch[1] % 2), "fp32")
    learnt = method.learnt_parameters()
    stepped = {name.rsplit(".", 2)[0].split(".", 1)[1] for name in learnt if learnt[name] in optimizer.state}
    assert stepped == {"skips.1", "beside_mlp.0", "beside_mlp.2"}
    unused = [name for name in learnt if "skips.0" in name or "beside_mlp.1" in name]
    assert unused
    assert all(learnt[name].equal(before[name]) for name in unused)

"""The embedded suite's rates are those that `benchmarks.tune_mini_suite` chose."""

import json

import pytest

from benchmarks.timing import RESULTS
from trainers.config.load import load_bench

CHOSEN = json.loads((RESULTS / "tune_mini_suite.json").read_text(encoding="utf-8"))["groups"]
CASES = [(group, method) for group, found in CHOSEN.items() for method in found["methods"]]
DATASET = {"16 shots": "icons", "4 shots": "emoji_food"}


@pytest.mark.parametrize(("group", "method"), CASES, ids=[f"{method}, {group}" for group, method in CASES])
def test_a_rate_is_the_one_that_was_chosen(group, method):
    chosen = CHOSEN[group]["methods"][method]["chosen"]
    (run,) = load_bench(overrides=["METHODS", f"[{method}]", "DATASETS", f"[{DATASET[group]}]", "SEEDS", "[1]"]).runs
    assert (run.optim.lr, run.optim.batch_size) == (chosen["lr"], chosen["batch_size"])
    assert run.optim.steps or run.optim.epochs == chosen["epochs"]

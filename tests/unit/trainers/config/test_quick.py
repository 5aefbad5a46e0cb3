import pytest

from trainers.bench.main import quick_notes
from trainers.config.load import load_bench
from trainers.config.values import ConfigError
from trainers.protocols.registry import list_protocols


@pytest.mark.parametrize("protocol", list_protocols())
def test_a_quick_bench_is_a_part_of_the_whole_one(protocol):
    words = ["METHODS", "all", "PROTOCOL", protocol]
    whole, quick = load_bench(overrides=words), load_bench(None, words[2:], {"QUICK": True})
    assert {run.seed for run in quick.runs} == {1}
    assert len(quick.settings.methods) < len(whole.settings.methods)
    unlike = [run for run in quick.runs if run not in whole.runs]
    assert not unlike  # the settings are the same, so a whole bench reuses its records


def test_what_the_user_sets_lies_over_the_quick_part():
    config = load_bench(None, ["SEEDS", "[2]"], {"QUICK": True, "METHODS": ["taskres"], "PROTOCOL": "few_shot"})
    assert {(run.method, run.seed) for run in config.runs} == {("taskres", 2)}
    assert len(config.settings.datasets) == 3


def test_the_table_says_that_it_is_a_taste():
    (note,) = quick_notes(load_bench(None, [], {"QUICK": True}))
    assert note.startswith("a quick taste of suite mini: zero_shot, coop, ")
    assert note.endswith("seed 1; without --quick a bench is whole")
    assert quick_notes(load_bench()) == ()


@pytest.mark.parametrize("settings", [{"SUITE": "paper"}, {"DATA.OWN": ["photos"]}])
def test_a_suite_without_a_quick_part_says_what_to_do(settings):
    with pytest.raises(ConfigError, match=r"has no quick part \(there is one of mini\); name a few methods"):
        load_bench(None, [], {"QUICK": True, **settings})

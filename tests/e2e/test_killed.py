"""Commands that are killed at random and within their writes, started again, and held against undisturbed ones."""

import sys

import pytest

from benchmarks.kills.campaign import Campaign
from benchmarks.kills.cases import ALONE, every_case
from benchmarks.kills.summary import FAULTS, summary

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are followed through /proc")

# CoOp steps on cached features, PromptSRC averages over epochs, CLIP-LoRA draws dropout, linear_probe has no steps.
SOME = ("coop", "promptsrc", "clip_lora", "linear_probe", "train coop", "save coop", "side by side")


def kill(cases, kills, work, of_a_round=8):
    campaign = Campaign(cases, kills, seed=5, work=work, of_a_round=of_a_round)
    campaign.go()
    found = summary(campaign.rounds, [])
    assert found["kills"] == kills
    assert not found["faults"], found["faults"]
    assert all(found[fault] == 0 for fault in FAULTS)
    return found


def test_commands_that_are_killed_lose_nothing_and_end_with_the_same_bits(tmp_path):
    kill([case for case in every_case() if case.launcher == "this process" and case.name in SOME], 14, tmp_path)


@pytest.mark.slow
def test_60_kills_of_every_method_wrapper_and_launcher_lose_nothing(tmp_path):
    cases = [case for case in every_case() if case.launcher not in ("ray", "slurm")]
    found = kill(cases[::-1], 60, tmp_path, of_a_round=2)  # the launchers first
    assert {"this process", "workers", "together"} <= set(found["by_launcher"])
    assert {*ALONE, "worker"} <= set(found["by_victim"])
    assert found["by_case"].keys() == {case.label for case in cases}


def test_a_campaign_goes_on_from_its_journal(tmp_path):
    cases = [case for case in every_case() if case.name == "save coop" or case.label == "coop, this process"]
    kill(cases, 3, tmp_path)
    begun = (tmp_path / "journal.jsonl").read_text()
    kill(cases, 5, tmp_path)
    assert (tmp_path / "journal.jsonl").read_text().startswith(begun)

"""Gates: what rewards do to them, and when."""

import math

import pytest
import torch

from adaptkit.contract.architecture import Choice
from adaptkit.wrappers import DASConfig
from adaptkit.wrappers.das.gates import Gates, advantages
from adaptkit.wrappers.das.search import GreedySearch, RewardSearch


def search(kind=RewardSearch, depths=(6, 3), used=None, **options):
    options = {"skip_vision": 2, "skip_text": 1} | options
    used = [] if used is None else used
    return kind(DASConfig(**options), depths, used.append, lambda found: found)


@pytest.mark.parametrize("kind", ["standardised", "baseline"])
def test_equal_rewards_move_nothing(kind):
    gates = Gates(4)
    gates.learn([(0, 1), (1, 2), (2, 3)], advantages(torch.full((3,), 0.25), kind), eta=1.0)
    assert torch.equal(gates.values, torch.zeros(4))


def test_updates_use_the_preferences_from_before():
    gates = Gates(3)
    gates.learn([(0,), (0,), (1,)], torch.tensor([1.0, 1.0, -2.0]), eta=1.0)
    torch.testing.assert_close(gates.values, torch.tensor([0.5, -0.5, 0.0]))


def test_a_block_that_is_missed_least_ends_with_the_highest_gate():
    found = search()
    torch.manual_seed(0)
    for _ in range(300):
        choices = found.candidates()
        found.learn(
            choices, [1.0 - 0.5 * (4 in c.vision) - 0.3 * (1 in c.vision) - 0.4 * (0 in c.text) for c in choices]
        )
    assert found.result(7).choice == Choice((1, 4), (0,))
    assert found.result(7).seeds == (7,)


@pytest.mark.parametrize("common", [0.0, 50.0])
def test_losses_that_are_large_for_all_teach_as_much(common):
    gates = []
    for loss in (0.0, common):
        found = search()
        found.learn([Choice((0, 1), (0,)), Choice((2, 3), (1,)), Choice((4, 5), (2,))], [loss + 1, loss + 2, loss + 3])
        gates.append(found.gates[0].values)
    torch.testing.assert_close(*gates)
    assert gates[0][0] > 0.01 > 0 > gates[0][5]


def test_without_a_step_the_tie_rule_decides_alone():
    found = search(eta=0.0)
    found.learn(found.candidates(), [1.0, 2.0, 3.0])
    assert found.result(0).choice == Choice((4, 5), (2,))


def test_candidates_differ_as_pairs_and_are_never_more_than_there_are():
    found = search(depths=(2, 1), skip_vision=1, skip_text=1)
    assert sorted(found.candidates()) == [Choice((0,), (0,)), Choice((1,), (0,))]
    assert len({(frozenset(c.vision), frozenset(c.text)) for c in search(candidates=5).candidates()}) == 5


def test_rewards_come_every_few_steps_behind_the_start():
    found = search(reward_every=5, reward_start=1 / 3)
    assert [step for step in range(60) if found.reward_is_due(step, 60)] == [24, 29, 34, 39, 44, 49, 54, 59]


@pytest.mark.parametrize(("shots", "steps"), [(1, 500), (4, 1000), (16, 2000)])
def test_steps_grow_with_the_shots(shots, steps):
    assert search().step_count(shots, 10) == steps
    assert search(search_steps=30).step_count(shots, 10) == 30


def test_a_sampled_subnetwork_is_put_in():
    used = []
    search(used=used).sample()
    assert [len(blocks) for blocks in used[0]] == [2, 1]


def test_the_greedy_choice_is_of_the_smallest_losses_of_single_blocks():
    found = search(GreedySearch, skip_text=0)
    choices = found.candidates()
    assert choices == [Choice((block,), ()) for block in range(6)]
    assert found.step_count(4, 130) == math.ceil(130 / 64)
    for _ in range(found.step_count(4, 130)):
        found.learn(choices, [3.0, 1.0, 2.0, 5.0, 1.5, 4.0])
    assert found.result(0).choice == Choice((1, 4), ())
    assert not found.trains


def test_the_options_that_a_search_settles_on_skip_what_was_found():
    found = search()
    settled = found.settled(found.result(0))
    assert (settled.select, settled.vision_blocks, settled.text_blocks) == ("given", (4, 5), (2,))

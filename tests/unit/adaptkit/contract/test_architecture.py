"""Architectures as files: what is written comes back, what a hand broke is named."""

import json

import pytest

from adaptkit.contract.architecture import (
    Architecture,
    Choice,
    TowerPlan,
    architecture_from_json,
    largest,
    merged,
    overlap,
)

FOUND = Architecture(
    TowerPlan(4, (1, 3), (0.1, 0.3, 0.0, 0.2)), TowerPlan(3, (2,), (0.0, 0.1, 0.2)), "search", (5,), None, {"image": 7}
)


def edited(change):
    content = json.loads(FOUND.to_json())
    change(content)
    return json.dumps(content)


def test_what_is_written_comes_back():
    assert architecture_from_json(FOUND.to_json()) == FOUND


def test_a_hand_may_write_other_blocks_and_leave_the_rest_out():
    text = '{"format": "adaptkit-architecture/1", "vision": {"depth": 12, "skipped": [11, 3]}, "text": {"depth": 12}}'
    assert architecture_from_json(text).choice == Choice((3, 11), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "mine.json' is not JSON"),
        ("[]", "mine.json is no architecture"),
        (edited(lambda content: content.update(format="x")), "expected an object with format"),
        (
            edited(lambda content: content["vision"].update(skipped=[4])),
            "skipped block 4 is not in a tower of blocks 0 to 3",
        ),
        (edited(lambda content: content["vision"].update(skipped=[1, 1])), "name a block twice"),
        (edited(lambda content: content["vision"].update(skipped=["1"])), "expected a list of block numbers"),
        (edited(lambda content: content["vision"].update(gates=[1.0])), "1 gates for 4 blocks"),
        (edited(lambda content: content["text"].pop("depth")), "expected depth, skipped"),
        (edited(lambda content: content["text"].update(skiped=[1])), "expected depth, skipped"),
        (edited(lambda content: content.update(macs=3)), "mine.json"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        architecture_from_json(text, "mine.json")


def test_equal_gates_go_to_the_later_block():
    assert largest((0.0, 0.0, 0.0, 0.0), 2) == (2, 3)
    assert largest((0.5, 0.1, 0.5, 0.2), 2) == (0, 2)


def test_several_searches_are_averaged_and_their_agreement_is_told():
    other = Architecture(
        TowerPlan(4, (0, 1), (0.9, 0.4, 0.0, 0.0)), TowerPlan(3, (2,), (0.0, 0.1, 0.2)), "search", (6,)
    )
    both = merged([FOUND, other])
    assert both.vision.gates == pytest.approx((0.5, 0.35, 0.0, 0.1))
    assert both.choice == Choice((0, 1), (2,))
    assert both.seeds == (5, 6)
    assert both.agreement == overlap(FOUND.choice, other.choice) == pytest.approx(2 / 3)
    assert merged([FOUND]) is FOUND

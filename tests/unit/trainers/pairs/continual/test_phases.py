"""Phases: cut by groups, by their names or in order; and put together again."""

from dataclasses import replace
from pathlib import Path

import pytest

from datasets_fewshot.pairs.pair_set import Captioned, PairSet
from trainers.pairs.continual.phases import PARTS, cut, named_phases, together


def listed(part, count):
    return tuple(Captioned(f"{part}/{n}.png", ("a",), f"{part} {n // 2:02d}") for n in range(count))


@pytest.fixture
def pairs(tmp_path):
    return PairSet("made", tmp_path, listed("train", 60), listed("val", 30), listed("test", 30))


@pytest.mark.parametrize("by", ["hash", "group", "order"])
def test_every_image_is_in_one_phase_and_keeps_its_part(pairs, by):
    whole = PairSet("made", pairs.image_root, *(listed("x", 40), listed("y", 40), listed("z", 40)))
    if by == "group":  # groups of all parts lie among each other
        whole = replace(
            whole,
            **{
                part: tuple(replace(item, group=f"{n // 4:02d} {part}") for n, item in enumerate(getattr(whole, part)))
                for part in PARTS
            },
        )
    phases = cut(whole, 3, by)
    for part in PARTS:
        paths = [item.path for phase in phases for item in getattr(phase.pairs, part)]
        assert sorted(paths) == sorted(item.path for item in getattr(whole, part))
        assert all(len(getattr(phase.pairs, part)) >= 2 for phase in phases)
    if by != "order":
        for phase in phases:
            groups = {item.group for item in phase.pairs.train}
            others = {item.group for other in phases if other is not phase for item in other.pairs.train}
            assert not groups & others


def test_an_image_that_joins_moves_no_other(pairs):
    more = replace(pairs, train=(*pairs.train, Captioned("train/new.png", ("a",), "new")))
    for before, after in zip(cut(pairs, 2, "hash"), cut(more, 2, "hash"), strict=True):
        assert set(before.pairs.train) <= set(after.pairs.train)


def test_order_takes_consecutive_images(pairs):
    first, second = cut(pairs, 2, "order")
    assert first.pairs.train + second.pairs.train == pairs.train
    assert len(first.pairs.train) == 30


def test_phases_that_are_too_small_are_refused(pairs):
    with pytest.raises(ValueError, match="phase 1 of 20 would have 1 images for val of made"):
        cut(pairs, 20, "order")


def test_names_that_repeat_have_their_place(pairs):
    assert [phase.name for phase in named_phases([pairs, replace(pairs, name="b"), pairs])] == [
        "made (1)", "b", "made (3)",
    ]  # fmt: skip


def test_sets_from_several_folders_are_found_from_one(tmp_path):
    sets = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        sets.append(PairSet(name, tmp_path / name, *(listed(part, 2) for part in PARTS)))
    whole = together(named_phases(sets))
    assert whole.image_root == tmp_path.resolve()
    assert [item.path for item in whole.train] == [f"{n}/train/{i}.png" for n in "ab" for i in range(2)]
    assert {item.group for item in whole.train} == {"a: train 00", "b: train 00"}
    with pytest.raises(ValueError, match="read in different ways"):
        together(named_phases([sets[0], replace(sets[1], reading="as_stored")]))


def test_cut_sets_are_put_together_as_they_were(pairs):
    whole = together(cut(pairs, 2, "order"))
    assert (whole.image_root, whole.train) == (Path(pairs.image_root), pairs.train)

"""Parts drawn by the hash of a group."""

from collections import Counter

import pytest

from datasets_fewshot.pairs.hashed_split import HASHED, part_of
from datasets_fewshot.pairs.load import load_pairs

KNOWN = {"img/0.png": "train", "img/1.png": "train", "café": "train", "": "val"}


def test_the_parts_of_known_groups_stay_as_they_are():
    assert {name: part_of(name) for name in KNOWN} == KNOWN


def test_the_shares_are_those_promised():
    found = Counter(part_of(str(number)) for number in range(20_000))
    assert found["train"] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert found["val"] / 20_000 == pytest.approx(0.1, abs=0.01)


def by_part(pairs) -> dict[str, str]:
    parts = {"train": pairs.train, "val": pairs.val, "test": pairs.test}
    return {item.path: part for part, items in parts.items() for item in items}


def test_images_that_join_later_move_none_of_the_others(home):
    before = home / "before.csv"
    before.write_text("image,caption\n" + "".join(f"img/{n}.png,number {n}\n" for n in (1, 3, 5)))
    after = home / "after.csv"
    after.write_text("image,caption\n" + "".join(f"img/{n}.png,number {n}\n" for n in (5, 0, 4, 3, 2, 1)))
    known, now = by_part(load_pairs(before)), by_part(load_pairs(after))
    assert {path: now[path] for path in known} == known
    assert HASHED in load_pairs(before).notes


def test_images_of_a_group_are_never_in_two_parts(home):
    file = home / "t.csv"
    file.write_text("image,caption,group\n" + "".join(f"img/{n}.png,number {n},{'ab'[n % 2]}\n" for n in range(6)))
    pairs = load_pairs(file)
    parts = [{item.group for item in part} for part in (pairs.train, pairs.val, pairs.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 2

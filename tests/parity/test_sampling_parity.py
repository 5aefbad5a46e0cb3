"""The few-shot draws against lists drawn by the released codes (fixtures/sampling/manifest.json names them)."""

import json
from itertools import chain
from pathlib import Path

import pytest

from datasets_fewshot.dataset import FewShotDataset, Item, Split
from datasets_fewshot.splits.draws import draw
from datasets_fewshot.splits.split_files import draw_few_shot, select_classes

FIXTURES = Path(__file__).parent / "fixtures" / "sampling"
Rows = list[list[str | int]]


def stored(name: str) -> dict[str, dict[str, dict[str, object]]]:
    return json.loads((FIXTURES / f"{name}.json").read_text())


COOP, TIP, LORA = stored("coop"), stored("tip"), stored("lora")


def split_named(name: str) -> Split:
    lists = COOP["splits"][name]
    return Split(*(tuple(Item(*row) for row in lists[key]) for key in ("train", "val", "test")))


def rows(items: tuple[Item, ...]) -> Rows:
    return [[item.path, item.label, item.classname] for item in items]


@pytest.mark.parametrize("case", [case for case in COOP["results"] if "/full/" not in case])
def test_coop_draw_and_halving(case):
    name, seed, shots, half = case.split("/")
    expected = COOP["results"][case]
    drawn = draw_few_shot(split_named(name), int(shots.removeprefix("shots")), int(seed.removeprefix("seed")))
    split = select_classes(drawn, half)
    assert rows(split.train) == expected["train"]
    assert rows(split.val) == expected["val"]
    assert len(split.test) == expected["n_test"]
    if expected["test"] is not None:
        assert rows(split.test) == expected["test"]
    assert list(FewShotDataset(name, Path(), split).classnames) == expected["classnames"]


@pytest.mark.parametrize("case", [case for case in COOP["results"] if "/full/" in case])
def test_halving_without_a_draw(case):
    name, _, half = case.split("/")
    expected = COOP["results"][case]
    split = select_classes(split_named(name), half)
    assert [len(items) for items in split] == [expected["n_train"], expected["n_val"], expected["n_test"]]
    assert list(FewShotDataset(name, Path(), split).classnames) == expected["classnames"]


@pytest.mark.parametrize(
    ("name", "case"),
    [("tip_adapter", case) for case in TIP["results"]] + [("clip_lora", case) for case in LORA["results"]],
)
def test_other_draws(name, case):
    split, seed, shots = case.split("/")
    expected = {"tip_adapter": TIP, "clip_lora": LORA}[name]["results"][case]
    drawn = draw(name, split_named(split), int(shots.removeprefix("shots")), int(seed.removeprefix("seed")))
    assert rows(drawn.train) == expected["train"]
    if expected["val"] is not None:
        assert rows(drawn.val) == expected["val"]


# The toy vector of the benchmark protocol: class sizes 10, 25, 100 (train) and 4, 10, 30 (val), K = 4.
TOY_PICKS = {
    1: ([[2, 1, 4, 0], [15, 24, 14, 20], [48, 26, 12, 62]], [[0, 1, 2, 3], [7, 4, 3, 8], [3, 28, 10, 0]]),
    2: ([[0, 1, 8, 2], [5, 23, 21, 9], [32, 77, 27, 4]], [[1, 3, 2, 0], [8, 7, 4, 0], [27, 0, 11, 14]]),
    3: ([[3, 8, 2, 7], [19, 15, 20, 18], [8, 77, 1, 60]], [[2, 3, 0, 1], [7, 8, 9, 3], [20, 27, 4, 7]]),
}


def toy_items(sizes: tuple[int, ...]) -> tuple[Item, ...]:
    return tuple(Item(f"{label}/{i}.jpg", label, str(label)) for label, size in enumerate(sizes) for i in range(size))


@pytest.mark.parametrize("seed", TOY_PICKS)
def test_toy_vector_of_the_protocol(seed):
    drawn = draw_few_shot(Split(toy_items((10, 25, 100)), toy_items((4, 10, 30)), ()), 4, seed)
    train, val = TOY_PICKS[seed]
    assert [int(Path(item.path).stem) for item in drawn.train] == list(chain(*train))
    assert [int(Path(item.path).stem) for item in drawn.val] == list(chain(*val))

"""The draw on a real list of the papers, against the draws that were published (fixtures/dtd_train/manifest.json)."""

from pathlib import Path

import pytest

from datasets_fewshot.dataset import Item, Split
from datasets_fewshot.paper_format.facts import draw_differences, facts

TRAIN_LIST = Path(__file__).parent / "fixtures" / "dtd_train" / "train.txt"
TRAIN_DRAWS = [key for key in facts("dtd").draws if key.startswith("train")]


@pytest.fixture(scope="module")
def split() -> Split:
    items = []
    for label, line in enumerate(TRAIN_LIST.read_text().splitlines()):
        name, *numbers = line.split()
        items += [Item(f"{name}/{name}_{int(number):04d}.jpg", label, name) for number in numbers]
    return Split(tuple(items), (), ())


def test_the_list_has_the_papers_size_and_names(split):
    assert len(split.train) == facts("dtd").train
    assert tuple(dict.fromkeys(item.classname for item in split.train)) == facts("dtd").classnames


@pytest.mark.parametrize("draw", TRAIN_DRAWS)
def test_every_published_training_draw_comes_out_the_same(split, draw):
    assert draw_differences("dtd", split, "images", [draw]) == ()


def test_another_order_of_the_list_is_noticed(split):
    first, second, *rest = split.train
    assert len(draw_differences("dtd", Split((second, first, *rest), (), ()), "images", TRAIN_DRAWS)) > 0

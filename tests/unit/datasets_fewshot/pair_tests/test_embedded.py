"""The embedded pair tests: whole, of test images alone, and false where they say so as far as the sources tell."""

import json
import re

import pytest

from datasets_fewshot.pair_tests.load import FILE, load_pair_tests
from datasets_fewshot.pairs.load import load_pairs


@pytest.fixture(scope="module")
def tests():
    return load_pair_tests("mini_pair_tests")


@pytest.fixture(scope="module")
def captions():
    return {item.path: item.captions for item in load_pairs("mini_pairs").test}


def test_it_has_named_subsets_of_test_images_alone(tests, captions):
    sizes = {subset.name: len(subset.items) for subset in tests.subsets}
    assert sizes == {"colour": 10, "object": 259, "kind": 258, "country": 36, "two_texts": 52, "image_pairs": 106}
    assert set(tests.images) <= set(captions)
    assert tests.notes == ()


def test_true_texts_are_said_of_the_image_and_false_ones_are_not(tests, captions):
    for subset in tests.subsets:
        for item in subset.items:
            own = captions[item.images[0]]
            if subset.name == "kind":
                kind = item.positives[0].removeprefix("a drawing of a kind of ")
                assert any(text.endswith(f", a kind of {kind}") for text in own)
                continue
            assert item.positives[0] in own
            assert subset.kind == "image_pairs" or not set(item.negatives) & set(own)
            if subset.kind == "image_pairs":
                assert item.positives[1] in captions[item.images[1]]
                assert item.positives[1] not in own


def test_no_drawing_is_in_two_image_pairs(tests):
    (pairs,) = (subset.items for subset in tests.subsets if subset.name == "image_pairs")
    images = [path for item in pairs for path in item.images]
    assert len(images) == len(set(images))


def test_another_colour_is_the_only_difference(tests):
    (coloured,) = (subset.items for subset in tests.subsets if subset.name == "colour")
    for item in coloured:
        words = item.positives[0].split()
        for text in item.negatives:
            differing = [pair for pair in zip(words, text.split(), strict=True) if pair[0] != pair[1]]
            assert len([pair for pair in differing if not re.fullmatch("an?", pair[0])]) == 1


def test_the_recipe_writes_what_is_embedded():
    pytest.importorskip("resvg_py", reason="the recipe of the embedded suite draws with resvg_py")
    from datasets_fewshot.mini.recipe.pair_tests import items, things_for_testing

    written = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    assert list(items(things_for_testing(FILE.parent / "pairs.json"))) == written

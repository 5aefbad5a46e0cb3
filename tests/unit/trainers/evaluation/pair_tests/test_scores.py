"""Scores of pair tests: perfect and constant encoders, ties, orders, and agreement with plain counting."""

import itertools
import math

import pytest
import torch

from trainers.evaluation.pair_tests.accuracy import PairAccuracy, TextChoice, chance_of, pair_outcomes
from trainers.evaluation.pair_tests.groups import group_outcomes
from trainers.evaluation.pair_tests.mmvp import mmvp_scores
from trainers.evaluation.pair_tests.sugarcrepe import sugarcrepe_outcomes, sugarcrepe_scores


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


def test_a_perfect_encoder_is_always_right():
    eye, wrong = torch.eye(60), torch.eye(60).roll(1, 0)
    assert mmvp_scores(eye, eye).mean_score == 100
    assert mmvp_scores(eye, eye).images_correct.all()
    assert set(sugarcrepe_scores(eye, eye, eye, wrong).values()) == {1.0}
    groups = group_outcomes(eye.view(30, 2, 60), eye.view(30, 2, 60))
    assert groups.group.all()


@pytest.mark.parametrize("which", ["images", "texts", "both"])
def test_a_constant_encoder_is_never_right(which, draw):
    varied, same = draw(60, 7), draw(1, 7).expand(60, 7)
    images = same if which in ("images", "both") else varied
    texts = same if which in ("texts", "both") else varied
    assert mmvp_scores(images, texts).mean_score == 0
    assert not group_outcomes(images.view(30, 2, 7), texts.view(30, 2, 7)).group.any()
    if which != "images":
        assert set(sugarcrepe_scores(images, texts, texts, texts).values()) == {0.0}
        places = torch.arange(60).repeat(2)
        true = torch.arange(120) < 60
        assert not pair_outcomes(images, texts.repeat(2, 1), places, true).any()


def test_both_texts_are_right_at_most_as_often_as_each(draw):
    right = sugarcrepe_outcomes(*(draw(500, 3) for _ in range(4)))
    assert torch.equal(right["itt"], right["p1_only"] & right["p2_only"])
    assert abs(float(right["itt"].double().mean()) - 1 / 3) < 0.07
    assert abs(float(right["tot"].double().mean()) - 1 / 3) < 0.07


def test_the_order_of_pairs_and_groups_changes_no_outcome(draw):
    images, texts = draw(30, 2, 5), draw(30, 2, 5)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    plain = mmvp_scores(images.flatten(0, 1), texts.flatten(0, 1))
    moved = mmvp_scores(images[order].flatten(0, 1), texts[order].flatten(0, 1))
    assert torch.equal(plain.pair_correct[order], moved.pair_correct)
    one, two = group_outcomes(images, texts), group_outcomes(images[order], texts[order])
    assert torch.equal(one.group[order], two.group)
    swapped = group_outcomes(images.flip(1), texts.flip(1))
    assert torch.equal(one.text, swapped.text)
    assert torch.equal(one.image, swapped.image)


def test_mmvp_is_winogrounds_image_score_where_nothing_ties(draw):
    images, texts = draw(45, 2, 5), draw(45, 2, 5)
    groups = group_outcomes(images, texts)
    scores = mmvp_scores(images.flatten(0, 1), texts.flatten(0, 1))
    assert torch.equal(scores.pair_correct, groups.image)
    assert torch.equal(scores.images_correct, groups.text)


@pytest.mark.parametrize("rows", [0, 28, 31, 269])
def test_rows_that_make_no_whole_patterns_are_refused(rows, draw):
    with pytest.raises(ValueError, match=r"expected|whole"):
        mmvp_scores(draw(rows, 4), draw(rows, 4))


def test_features_that_do_not_belong_together_are_refused(draw):
    with pytest.raises(ValueError, match=r"text_features has shape \(30, 5\)"):
        mmvp_scores(draw(30, 4), draw(30, 5))
    with pytest.raises(ValueError, match=r"negative .* not finite"):
        sugarcrepe_scores(draw(2, 4), draw(2, 4), draw(2, 4), torch.full((2, 4), math.nan))
    with pytest.raises(ValueError, match="groups, 2, width"):
        group_outcomes(draw(2, 3, 4), draw(2, 3, 4))


def test_every_true_text_has_to_beat_every_false_one(draw):
    items = [TextChoice(("a", "b"), ("c",)), TextChoice(("d",), ("a", "e", "f")), TextChoice(("b",), ("c",))]
    images, vectors = draw(3, 6), {letter: draw(6) for letter in "abcdef"}
    calls = []

    def encode(texts):
        calls.append(list(texts))
        return torch.stack([vectors[text] for text in texts])

    accuracy = PairAccuracy(items)
    right = accuracy.outcomes(images, encode)
    for outcome, image, item in zip(right, images, items, strict=True):
        cosine = {text: torch.cosine_similarity(image, vectors[text], dim=0) for text in vectors}
        pairs = itertools.product(item.positives, item.negatives)
        assert bool(outcome) == all(cosine[true] > cosine[false] for true, false in pairs)
    assert calls == [["a", "b", "c", "d", "e", "f"]]
    assert accuracy.accuracy(images, encode) == pytest.approx(100 * right.double().mean())
    assert accuracy.chance == pytest.approx((100 / 3 + 25 + 50) / 3)


def test_chance_levels_are_those_of_random_cosines(draw):
    for true, false in ((1, 1), (2, 1), (1, 3), (2, 3)):
        scores = draw(20000, true + false)
        right = scores[:, :true].min(dim=1).values > scores[:, true:].max(dim=1).values
        assert abs(100 * float(right.double().mean()) - chance_of(true, false)) < 1.5


def test_an_item_without_a_false_text_is_refused_by_its_number(draw):
    with pytest.raises(ValueError, match="item 1 has no false text"):
        pair_outcomes(draw(2, 3), draw(3, 3), torch.tensor([0, 0, 1]), torch.tensor([True, False, True]))

"""Divisions and draws of images with several labels."""

import random

import pytest

from datasets_fewshot.splits.multi_label import draw_positives, stratified

N_LABELS = 6


@pytest.fixture
def labels() -> list[list[int]]:
    """Of 200 images: label c is on about one in c + 2, and some images have none."""
    rng = random.Random(0)
    return [[label for label in range(N_LABELS) if rng.random() < 1 / (label + 2)] for _ in range(200)]


def counts(labels, images) -> list[int]:
    return [sum(label in labels[image] for image in images) for label in range(N_LABELS)]


def test_every_part_has_its_share_of_every_label(labels):
    shares = (0.5, 0.2, 0.3)
    parts = stratified(labels, shares, seed=1)
    total = counts(labels, range(len(labels)))
    for place, share in enumerate(shares):
        own = [image for image, part in enumerate(parts) if part == place]
        assert abs(len(own) - share * len(labels)) <= 3
        assert all(abs(n - share * t) <= 3 for n, t in zip(counts(labels, own), total, strict=True))


def test_the_same_seed_divides_and_draws_alike_and_another_does_not(labels):
    assert stratified(labels, (0.5, 0.5), 1) == stratified(labels, (0.5, 0.5), 1)
    assert stratified(labels, (0.5, 0.5), 1) != stratified(labels, (0.5, 0.5), 2)
    assert draw_positives(labels, N_LABELS, 4, 1) == draw_positives(labels, N_LABELS, 4, 1)
    assert draw_positives(labels, N_LABELS, 4, 1) != draw_positives(labels, N_LABELS, 4, 2)


@pytest.mark.parametrize("shots", [1, 4, 16])
def test_a_draw_has_enough_images_of_every_label_and_of_none(labels, shots):
    drawn = draw_positives(labels, N_LABELS, shots, seed=3)
    assert len(set(drawn)) == len(drawn)
    assert min(counts(labels, drawn)) >= shots
    assert sum(not labels[image] for image in drawn) == min(shots, sum(not own for own in labels))
    assert len(drawn) <= (N_LABELS + 1) * shots


def test_a_rare_label_gives_all_that_it_has():
    assert 2 in draw_positives([[0], [0], [0, 1], [0], []], 2, 1, seed=1)

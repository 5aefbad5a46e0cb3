"""Conformal sets: the threshold of the finite sample, scores by hand, and coverage on data that are exchangeable."""

import math

import pytest
import torch

from adaptkit.calibration.calibration import fit_calibration
from adaptkit.calibration.certainty import certainty_of
from adaptkit.calibration.conformal import (
    conformal_threshold,
    least_images,
    mass_above,
    set_scores,
    thresholds_of_classes,
)
from adaptkit.classes.class_set import ClassSet

CLASSES = ClassSet(("ant", "bee", "cat", "dog", "eel"))


@pytest.mark.parametrize(
    ("count", "coverage", "place"),
    [(9, 0.9, 9), (19, 0.9, 18), (99, 0.28, 28), (99, 0.57, 57), (99, 0.95, 95), (10, 0.9, 10), (4, 0.5, 3)],
)
def test_the_threshold_is_the_score_at_ceil_of_n_plus_one_times_the_coverage(count, coverage, place):
    scores = torch.randperm(count).double() + 1  # the k-th smallest is k
    assert conformal_threshold(scores, coverage) == place


def test_too_few_images_leave_every_class_in_the_set():
    assert conformal_threshold(torch.rand(8), 0.9) == math.inf
    assert conformal_threshold(torch.rand(0), 0.5) == math.inf
    for coverage in (0.5, 0.8, 0.9, 0.95, 0.99):
        least = least_images(coverage)
        assert conformal_threshold(torch.rand(least), coverage) < math.inf
        assert conformal_threshold(torch.rand(least - 1), coverage) == math.inf


def test_scores_by_hand():
    probabilities, above = mass_above(torch.tensor([[0.2, 0.5, 0.3]]).log(), 1.0)
    assert torch.allclose(probabilities, torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64), atol=1e-7)
    assert torch.allclose(above, torch.tensor([[0.8, 0.0, 0.5]], dtype=torch.float64), atol=1e-7)
    u = torch.tensor([[0.5]])
    assert torch.allclose(set_scores(probabilities, above, "lac"), 1 - probabilities)
    assert torch.equal(set_scores(probabilities, above, "aps"), above)
    randomised = torch.tensor([[0.9, 0.25, 0.65]], dtype=torch.float64)
    assert torch.allclose(set_scores(probabilities, above, "aps_randomised", u), randomised, atol=1e-7)


def test_of_equal_logits_the_earlier_class_stands_above():
    _, above = mass_above(torch.zeros(1, 4), 1.0)
    assert above.tolist() == [[0.0, 0.25, 0.5, 0.75]]


def test_each_class_has_the_threshold_of_its_own_images():
    scores, labels = torch.tensor([0.1, 0.2, 0.3, 0.7, 0.8]), torch.tensor([0, 0, 0, 1, 1])
    assert thresholds_of_classes(scores, labels, 3, 0.5).tolist() == pytest.approx([0.2, 0.8, math.inf])


def exchangeable(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, 5) that are too sharp, and labels drawn from softer ones with uneven classes."""
    tilt = torch.tensor([1.0, 0.5, 0.0, -0.5, -1.0])
    true = 1.5 * torch.randn(count, 5, generator=generator) + tilt
    labels = torch.multinomial(true.softmax(dim=1), 1, generator=generator).squeeze(1)
    return 3 * true + torch.randn(count, 5, generator=generator), labels


@pytest.mark.parametrize("score", ["lac", "aps", "aps_randomised"])
@pytest.mark.parametrize(("count", "coverage"), [(30, 0.9), (100, 0.8)])
def test_the_promised_coverage_holds_although_the_temperature_is_fitted_on_the_same_images(score, count, coverage):
    generator, trials = torch.Generator().manual_seed(3), []
    for _ in range(150):
        calibration = fit_calibration(*exchangeable(count, generator), CLASSES, "drawn")
        certainty = certainty_of(calibration, CLASSES, coverage, score)
        assert certainty.sets is not None
        logits, labels = exchangeable(400, generator)
        inside = certainty.sets.of(logits, certainty.temperature)
        trials.append(inside.gather(1, labels[:, None]).double().mean())
    covered = torch.stack(trials)
    exact = math.ceil((count + 1) * coverage - 1e-9) / (count + 1)  # where no scores are equal
    error = 2 * float(covered.std()) / len(trials) ** 0.5
    assert abs(float(covered.mean()) - exact) < error


def test_every_class_is_covered_where_that_was_asked_for():
    generator, trials = torch.Generator().manual_seed(0), []
    for _ in range(60):
        calibration = fit_calibration(*exchangeable(300, generator), CLASSES, "drawn")
        certainty = certainty_of(calibration, CLASSES, 0.8, "lac", "classes")
        assert certainty.sets is not None
        logits, labels = exchangeable(1000, generator)
        inside = certainty.sets.of(logits, certainty.temperature).gather(1, labels[:, None]).squeeze(1).double()
        trials.append(torch.stack([inside[labels == label].mean() for label in range(5)]))
    covered = torch.stack(trials)
    error = 2 * covered.std(dim=0) / len(trials) ** 0.5
    assert bool((covered.mean(dim=0) > 0.8 - error).all())
    assert float(covered.mean()) < 0.85

"""Temperature scaling: the temperature that made the labels is found, and certainty does not follow from few images."""

import math

import pytest
import torch
import torch.nn.functional as F

from adaptkit.calibration.temperature import fit_temperature


def drawn(count: int, temperature: float, n_classes: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, C), and labels drawn from their softmax at a temperature."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(count, n_classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((logits / temperature).softmax(dim=1), 1, generator=generator).squeeze(1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature):
    logits, labels = drawn(20_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_has_a_smaller_loss():
    logits, labels = drawn(200, 2.0)
    best = fit_temperature(logits, labels)
    losses = [float(F.cross_entropy(logits / t, labels)) for t in (best * 0.99, best, best * 1.01)]
    assert min(losses) == losses[1]


@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_the_scale_of_the_logits_does_not_matter(scale):
    logits, labels = drawn(300, 2.0)
    assert fit_temperature(scale * logits, labels) == pytest.approx(scale * fit_temperature(logits, labels), rel=1e-6)


@pytest.mark.parametrize("count", [5, 50, 500])
def test_images_that_are_all_right_give_no_certainty(count):
    labels = torch.arange(count) % 4
    logits = 20.0 * F.one_hot(labels, 4)
    confidence = (logits / fit_temperature(logits, labels)).softmax(dim=1).amax()
    assert 1 - 2 / count < confidence < 1 - 0.3 / count  # as if less than one more image had been wrong


def test_images_that_are_all_alike_give_even_probabilities_or_the_shares_of_the_classes():
    labels = torch.tensor([0, 0, 0, 1, 2, 3])
    even = torch.zeros(6, 4)
    assert torch.allclose((even / fit_temperature(even, labels)).softmax(dim=1), torch.tensor(0.25))
    alike = torch.tensor([3.0, 0.0, 0.0, 0.0]).repeat(6, 1)
    assert (alike / fit_temperature(alike, labels)).softmax(dim=1)[0, 0] == pytest.approx(0.5, abs=1e-5)


def test_logits_that_say_the_opposite_of_the_labels_end_at_the_largest_temperature():
    labels = torch.arange(20) % 4
    found = fit_temperature(-5.0 * F.one_hot(labels, 4), labels)
    assert found == pytest.approx(1e4)
    assert math.isfinite(found)


def test_an_image_in_which_two_classes_are_level_gives_no_certainty():
    labels = torch.arange(20) % 4
    logits = 20.0 * F.one_hot(labels, 4)
    logits[0] = torch.tensor([20.0, 20.0, 0.0, 0.0])  # the right class and another
    confidence = (logits / fit_temperature(logits, labels)).softmax(dim=1).amax(dim=1)
    assert confidence[1:].max() < 1 - 0.3 / 20


def test_logits_that_are_equal_say_nothing_of_the_temperature():
    assert fit_temperature(torch.full((6, 3), 2.5), torch.arange(6) % 3) == 1


def test_what_cannot_be_calibrated_is_refused_in_words():
    with pytest.raises(ValueError, match=r"not finite.*diverge"):
        fit_temperature(torch.full((2, 3), torch.nan), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="labels reach from 0 to 3; logits have 3 classes"):
        fit_temperature(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"labels are torch.float32; expected whole numbers"):
        fit_temperature(torch.zeros(2, 3), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="at least one image"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))

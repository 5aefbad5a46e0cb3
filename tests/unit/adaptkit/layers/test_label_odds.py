"""Losses and log odds of several labels per image."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.layers.label_odds import as_targets, fit_log_odds, label_loss, platt_targets
from adaptkit.layers.logistic_regression import fit_logistic_regression

GENERATOR = torch.Generator().manual_seed(0)
Z = torch.randn(400, 4, generator=GENERATOR)
# Labels drawn from the odds 3 z + b.
BIAS = torch.tensor([-1.0, 0.0, 1.0, -3.0])
TARGETS = (torch.rand(400, 4, generator=GENERATOR) < (3 * Z + BIAS).sigmoid()).float()


def test_one_class_per_image_is_one_label_of_each():
    assert as_targets(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert as_targets(torch.tensor([[1, 0, 1]]), 3).dtype == torch.float32


def test_the_loss_is_the_sum_over_labels_and_the_mean_over_images():
    expected = F.binary_cross_entropy_with_logits(Z, TARGETS) * Z.shape[1]
    torch.testing.assert_close(label_loss(Z, TARGETS), expected)


def test_the_asymmetric_loss_without_asymmetry_is_binary_cross_entropy():
    torch.testing.assert_close(label_loss(Z, TARGETS, margin=1e-9), label_loss(Z, TARGETS), rtol=1e-4, atol=1e-5)


def test_the_asymmetric_loss_is_its_equation():
    p = Z.sigmoid()
    p_m = (p - 0.05).clamp(min=0)
    terms = TARGETS * (1 - p) * p.log() + (1 - TARGETS) * p_m**4 * (1 - p_m).log()
    torch.testing.assert_close(label_loss(Z, TARGETS, 1.0, 4.0, 0.05), -terms.sum(dim=1).mean())


def test_the_asymmetric_loss_is_finite_where_scores_are_certain():
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    label_loss(logits, torch.tensor([[0.0, 1.0]]), 1.0, 4.0, 0.0).backward()
    assert logits.grad.isfinite().all()


def test_log_odds_are_found_again_after_any_scale_and_shift():
    scale, bias = fit_log_odds(Z * 2 + 25, TARGETS)
    assert scale == pytest.approx(1.5, abs=0.2)
    torch.testing.assert_close(bias, BIAS.double() - 25 * scale, atol=0.6, rtol=0)


def test_logits_that_say_nothing_keep_a_gradient():
    scale, _ = fit_log_odds(torch.randn(400, 4, generator=GENERATOR), TARGETS)
    assert scale == pytest.approx(0.1)


def test_labels_that_none_or_all_images_have_get_finite_odds():
    targets = torch.tensor([[0.0, 1.0]]).expand(8, 2)
    _, bias = fit_log_odds(torch.zeros(8, 2), targets)
    torch.testing.assert_close(bias.sigmoid(), torch.tensor([0.1, 0.9], dtype=torch.float64), atol=1e-4, rtol=0)
    assert platt_targets(targets)[0].tolist() == pytest.approx([0.1, 0.9])


def test_no_image_gives_no_odds():
    with pytest.raises(ValueError, match="finite ones of some images"):
        fit_log_odds(torch.zeros(0, 2), torch.zeros(0, 2))


def test_one_logistic_regression_for_each_label_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    weight, bias = fit_logistic_regression(Z, TARGETS, 4, c=0.7, tol=1e-8)
    for label in range(4):
        expected = linear_model.LogisticRegression(C=0.7, tol=1e-8).fit(Z.double().numpy(), TARGETS[:, label].numpy())
        assert weight[label].tolist() == pytest.approx(expected.coef_[0].tolist(), abs=1e-4)
        assert float(bias[label]) == pytest.approx(float(expected.intercept_[0]), abs=1e-4)

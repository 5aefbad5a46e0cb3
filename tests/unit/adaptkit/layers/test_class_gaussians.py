"""Gaussians of classes: sums over parts, shrinkage, and what happens where there is no covariance."""

import math

import pytest
import torch
import torch.nn.functional as F

from adaptkit.layers.class_gaussians import ClassGaussians, gaussian_classifier, shrunk_precision
from adaptkit.layers.novel_gaussians import NamedImages, mean_precision, new_class_gaussians

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = F.normalize(torch.randn(60, 8, generator=GENERATOR, dtype=torch.float64), dim=-1)
LABELS = torch.arange(60) % 4
TEXTS = F.normalize(torch.randn(4, 8, generator=GENERATOR, dtype=torch.float64), dim=-1)
NAMES = ["a", "b", "c", "d"]


def fitted(features=FEATURES, labels=LABELS, parts=1, n_classes=4):
    gaussians = ClassGaussians(n_classes, 8)
    for part, own in zip(features.chunk(parts), labels.chunk(parts), strict=True):
        gaussians.add(part, own)
    return gaussians


def test_the_classifier_is_the_formula():
    means = torch.stack([FEATURES[label == LABELS].mean(dim=0) for label in range(4)])
    covariance = torch.cov((FEATURES - means[LABELS]).T)
    precision = 8 * torch.linalg.pinv(59 * covariance + covariance.trace() * torch.eye(8).double())
    bias = [-math.log(4) - float(mean @ precision @ mean) / 2 for mean in means]
    weight, ours = fitted().classifier(NAMES, TEXTS)
    torch.testing.assert_close(weight, means @ precision)
    torch.testing.assert_close(ours, torch.tensor(bias).double())


@pytest.mark.parametrize("parts", [2, 7, 60])
def test_sums_over_parts_give_what_all_images_at_once_give(parts):
    torch.testing.assert_close(fitted(parts=parts).classifier(NAMES, TEXTS), fitted().classifier(NAMES, TEXTS))


def test_the_order_of_images_changes_nothing():
    order = torch.randperm(60, generator=GENERATOR)
    shuffled = fitted(FEATURES[order], LABELS[order], parts=5)
    torch.testing.assert_close(shuffled.classifier(NAMES, TEXTS), fitted().classifier(NAMES, TEXTS))


def test_images_twice_leave_the_means_and_the_answers():
    twice = fitted(FEATURES.repeat(2, 1), LABELS.repeat(2))
    torch.testing.assert_close(twice.means, fitted().means)
    answers = [
        (FEATURES @ weight.T + bias).argmax(dim=1)
        for weight, bias in (one.classifier(NAMES, TEXTS) for one in (twice, fitted()))
    ]
    assert (answers[0] == answers[1]).float().mean() > 0.95


def test_with_equal_spread_in_all_directions_a_weight_points_to_its_mean():
    means = torch.randn(4, 8, generator=GENERATOR, dtype=torch.float64)
    weight, _ = gaussian_classifier(means, shrunk_precision(0.1 * torch.eye(8).double(), 20))
    torch.testing.assert_close(F.cosine_similarity(weight, means), torch.ones(4).double())


@pytest.mark.parametrize("parts", [1, 2])
def test_one_view_of_one_image_per_class_leaves_no_covariance(parts):
    weight, bias = fitted(FEATURES[:4].float(), LABELS[:4], parts).classifier(NAMES, TEXTS)
    assert not weight.any()
    torch.testing.assert_close(bias, torch.full((4,), -math.log(4)).double())


def test_views_that_are_equal_but_for_rounding_leave_no_covariance():
    equal = FEATURES[:4].float().repeat(3, 1)
    weight, _ = fitted(equal, LABELS[:4].repeat(3)).classifier(NAMES, TEXTS)
    assert not weight.any()


def test_without_images_all_is_zero():
    assert not any(part.any() for part in ClassGaussians(4, 8).classifier(NAMES, TEXTS))


def test_a_class_without_images_lies_in_the_middle():
    seen = LABELS != 3
    gaussians = fitted(FEATURES[seen], LABELS[seen])
    weight, bias = gaussians.classifier(NAMES, TEXTS)
    assert torch.isfinite(weight).all()
    torch.testing.assert_close(weight[3], weight[:3].mean(dim=0))
    assert bias[3] > bias[:3].min()


def test_what_is_kept_restores_the_classifier():
    gaussians, other = fitted(), ClassGaussians(4, 8)
    other.restore(gaussians.state())
    assert all(map(torch.equal, other.classifier(NAMES, TEXTS), gaussians.classifier(NAMES, TEXTS)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.zeros(3, 8)}, "means has shape"),
        ({"means": torch.zeros(4, 8, dtype=torch.int64)}, "means is int64"),
        ({"counts": torch.tensor([1, -1, 0, 0])}, "reach down to -1"),
        ({"more": torch.zeros(1)}, "do not belong here"),
    ],
)
def test_kept_tensors_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ClassGaussians(4, 8).restore(fitted().state() | change)


def test_a_mean_covariance_of_few_images_is_inverted_where_it_reaches():
    few, labels = FEATURES[:6], LABELS[:6] % 2
    precision = mean_precision(few, labels, 2)
    assert torch.linalg.matrix_rank(precision, rtol=1e-6) == 4  # 2 classes of 3 images
    torch.testing.assert_close(precision, mean_precision(few.float(), labels, 2).double(), rtol=1e-2, atol=1e-2)


def test_classes_of_one_image_have_no_covariance():
    assert not mean_precision(FEATURES[:4], LABELS[:4], 4).any()


def test_a_new_class_takes_the_features_nearest_to_its_text():
    means, precision = new_class_gaussians(TEXTS[:1], FEATURES, nearest=3, copies=2)
    near = FEATURES[(FEATURES @ TEXTS[0]).topk(3).indices]
    torch.testing.assert_close(means[0], torch.cat([near, TEXTS[:1], TEXTS[:1]]).mean(dim=0))
    scatter = (near - TEXTS[0]).T @ (near - TEXTS[0])  # about the text, not about its own mean
    expected = 8 * torch.linalg.inv(scatter + scatter.trace() / 2 * torch.eye(8).double())
    torch.testing.assert_close(precision, expected)


def test_names_of_before_keep_their_rows_among_new_ones():
    kept = NamedImages(NAMES, TEXTS)
    kept.add(FEATURES, LABELS)
    before, _ = kept.classifier(NAMES, TEXTS)
    mixed, _ = kept.classifier(["c", "e", "a"], TEXTS[[2, 3, 0]])
    torch.testing.assert_close(mixed[[0, 2]], before[[2, 0]])
    alone, _ = kept.classifier(["e"], TEXTS[3:])
    torch.testing.assert_close(mixed[1], alone[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(3, 8)}, "expected .60, 8."),
        ({"labels": torch.full((60,), 4)}, "there are 4 names"),
        ({"names": torch.tensor(list(b"[1]"), dtype=torch.uint8)}, "names of the classes with images are damaged"),
        ({"labels": torch.zeros(60)}, "labels is float32"),
    ],
)
def test_kept_images_that_do_not_fit_are_refused(change, message):
    kept, other = NamedImages(NAMES, TEXTS), NamedImages(("x",), TEXTS)
    kept.add(FEATURES, LABELS)
    other.restore(kept.state())
    assert other.classnames == tuple(NAMES)
    with pytest.raises(ValueError, match=message):
        other.restore(kept.state() | change)

"""GDA against numbers recorded from its released code (mrflogs/ICLR24 560fe21), which have no CLIP model in them."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import Support, create_method
from adaptkit.features.gda import search_alpha
from adaptkit.layers.class_gaussians import ClassGaussians, gaussian_classifier, shrunk_precision
from adaptkit.layers.novel_gaussians import (
    NamedImages,
    class_covariances,
    mean_precision,
    nearest_features,
    new_class_gaussians,
)
from tests.helpers.golden import Golden, variants

pytestmark = pytest.mark.usefixtures("dtype")

FEW_SHOT = [variant for variant in variants("gda") if variant.startswith("few_shot")]
BASE_TO_NOVEL = [variant for variant in variants("gda") if variant.startswith("base_to_novel")]


def names(number):
    return [f"class {label}" for label in range(number)]


def images(golden):
    """Unit features (V * N, D), view after view, and their labels."""
    views = golden["draw/support_features"]
    features = F.normalize(views.flatten(0, 1), dim=-1)
    labels = golden["draw/support_labels"].repeat(len(views))
    golden.check("features", features)
    golden.check("labels", labels)
    return features, labels


def check_classifier(golden, weight, bias, suffix=""):
    golden.check(f"W{suffix}", weight.T)
    golden.check(f"b{suffix}", bias)


def check_search(golden, weight, bias):
    validation, labels = golden["draw/val_features"], golden["draw/val_labels"]
    clip_logits = 100 * validation @ golden["draw/clip_weights"]
    gaussian_logits = validation @ weight.T.to(validation) + bias.to(validation)
    alphas, start = golden.settings["alphas"], golden.settings["alpha_start"]
    alpha = search_alpha(clip_logits, gaussian_logits, labels, alphas, start)
    golden.check("alpha", torch.tensor(alpha, dtype=torch.float64))
    logits = [clip_logits + one * gaussian_logits for one in alphas]
    right = torch.stack([(one.argmax(dim=1) == labels).double().mean() * 100 for one in logits])
    torch.testing.assert_close(right, golden["val_accuracy_per_alpha"])
    torch.testing.assert_close(right.max(), golden["val_accuracy"])
    query = golden["draw/test_features"]
    clip_logits, gaussian_logits = (
        100 * query @ golden["draw/clip_weights"],
        query @ weight.T.to(query) + bias.to(query),
    )
    golden.check("logits_alpha1", clip_logits + gaussian_logits)
    golden.check("logits", clip_logits + alpha * gaussian_logits)
    accuracy = ((clip_logits + alpha * gaussian_logits).argmax(dim=1) == golden["draw/test_labels"]).double().mean()
    torch.testing.assert_close(100 * accuracy, golden["accuracy"].flatten()[0])
    return alpha


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("variant", FEW_SHOT)
def test_few_shot_equals_the_released_code_in_any_number_of_parts(variant, parts):
    golden = Golden("gda", variant)
    features, labels = images(golden)
    n_classes = golden.settings["n_classes"]
    gaussians = ClassGaussians(n_classes, golden.settings["dim"])
    for part, own in zip(features.chunk(parts), labels.chunk(parts), strict=True):
        gaussians.add(part, own)
    golden.check("mu", gaussians.means)
    centred = torch.cat([features[labels == label] - gaussians.means[label].to(features) for label in range(n_classes)])
    golden.check("centred", centred)
    unbiased = gaussians.covariance * len(features) / (len(features) - 1)
    golden.check("precision", shrunk_precision(unbiased, len(features)))
    weight, bias = gaussians.classifier(names(n_classes), golden["draw/clip_weights"].T)
    check_classifier(golden, weight, bias)
    check_search(golden, weight, bias)


@pytest.mark.parametrize("variant", BASE_TO_NOVEL)
def test_base_to_novel_equals_the_released_code(variant):
    golden = Golden("gda", variant)
    features, labels = images(golden)
    settings, text, new_text = golden.settings, golden["draw/clip_weights"].T, golden["draw/clip_weights_new"].T
    n_base, n_new = settings["n_classes"], settings["n_new"]
    golden.check("class_covariances", torch.stack(list(class_covariances(features, labels, n_base))))
    golden.check("precision", mean_precision(features.double(), labels, n_base))
    kept = NamedImages(names(n_base), text)
    kept.add(features, labels)
    weight, bias = kept.classifier(names(n_base), text)
    check_classifier(golden, weight, bias)
    alpha = check_search(golden, weight, bias)

    nearest = nearest_features(new_text, features, settings["k_nearest"])
    golden.check("nearest", nearest.sort(dim=1).values)
    means, precision = new_class_gaussians(new_text, features, settings["k_nearest"], settings["text_copies"])
    golden.check("mu_new", means)
    golden.check("precision_new", precision)
    weight, bias = kept.classifier([f"new {name}" for name in names(n_new)], new_text)
    check_classifier(golden, weight, bias, "_new")
    torch.testing.assert_close(
        (weight, bias), gaussian_classifier(means.double(), precision.double()), rtol=1e-4, atol=1e-4
    )
    query = golden["draw/test_features_new"]
    logits = 100 * query @ new_text.T + alpha * (query @ weight.T.to(query) + bias.to(query))
    golden.check("logits_new", logits)
    accuracy = (logits.argmax(dim=1) == golden["draw/test_labels_new"]).double().mean()
    torch.testing.assert_close(100 * accuracy, golden["accuracy"][1])


def test_the_method_equals_the_released_code(tiny_clip, monkeypatch):
    golden = Golden("gda", "few_shot_k8_v1_d32")
    monkeypatch.setattr("adaptkit.features.gda.GDA.weights", golden["draw/clip_weights"].T)
    method = create_method("gda", tiny_clip, names(golden.settings["n_classes"]))
    method.prepare(Support(golden["draw/support_features"].transpose(0, 1), golden["draw/support_labels"]))
    golden.check("W", method.weight.T)
    golden.check("b", method.bias)
    golden.check("logits_alpha1", method.logits(golden["draw/test_features"]))
    method.tune(Support(golden["draw/val_features"], golden["draw/val_labels"]))
    golden.check("alpha", method.alpha)
    golden.check("logits", method.logits(golden["draw/test_features"]))


def test_an_inverse_in_the_place_of_the_pseudo_inverse_would_not_do():
    golden = Golden("gda", "base_to_novel_rank_deficient")
    features, labels = images(golden)
    mean = torch.stack(list(class_covariances(features.double(), labels, golden.settings["n_classes"]))).mean(dim=0)
    assert torch.linalg.matrix_rank(mean, rtol=1e-5) == 9
    assert (torch.linalg.pinv(mean, rtol=0.0) - golden["precision"]).abs().max() > 1e3

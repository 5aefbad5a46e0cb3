"""LP++ against numbers recorded from its released code (FereshteShakeri/FewShot-CLIP-Strong-Baseline f81054f).

The recordings have no CLIP model in them; b starts at their random numbers.
"""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import Support, create_method
from adaptkit.layers.blended_probe import best_iterate, iterates, start_of_probe, step_sizes
from tests.helpers.golden import Golden, variants

pytestmark = pytest.mark.usefixtures("dtype")


def given(golden):
    text = golden["draw/text_weights"].T
    features = F.normalize(golden["draw/train_features"], dim=-1)
    return features, golden["draw/train_labels"], text


def steps_of(golden, alpha_grad="accumulate"):
    features, labels, text = given(golden)
    start = start_of_probe(features, labels, text, golden["draw/bias"])
    return iterates(start, features, labels, text, golden.settings["iterations"], alpha_grad)


@pytest.mark.parametrize("variant", variants("lp_plus_plus"))
def test_start_and_step_sizes_equal_the_released_code(variant):
    golden = Golden("lp_plus_plus", variant)
    features, labels, text = given(golden)
    weight_step, alpha_step = step_sizes(features, text)
    golden.check("lr_W", torch.tensor(weight_step, dtype=torch.float64))
    golden.check("lr_alpha", torch.tensor(alpha_step, dtype=torch.float64))
    start = start_of_probe(features, labels, text, golden["draw/bias"])
    golden.check("start/W", start.weight)
    golden.check("start/alpha", start.alpha[0].double())
    assert len(start.alpha.unique()) == 1
    golden.check("start/logits", start.logits(features, text))


@pytest.mark.parametrize("variant", variants("lp_plus_plus"))
def test_every_iteration_equals_the_released_code(variant):
    golden = Golden("lp_plus_plus", variant)
    losses = []
    for step in steps_of(golden):
        losses.append(step.loss.double())
        name = f"iter{step.iteration + 1}"
        if f"{name}/W" in golden:
            golden.check_trained(f"{name}/W", step.probe.weight)
            golden.check_trained(f"{name}/b", step.probe.bias)
            golden.check_trained(f"{name}/alpha", step.probe.alpha)
            golden.check_trained(f"{name}/alpha_grad_sum", step.alpha_gradient)
    golden.check_trained("train_losses", torch.stack(losses))


@pytest.mark.parametrize("variant", variants("lp_plus_plus"))
def test_the_kept_iteration_equals_the_released_code(variant):
    golden = Golden("lp_plus_plus", variant)
    _, _, text = given(golden)
    validation, labels = F.normalize(golden["draw/val_features"], dim=-1), golden["draw/val_labels"]
    best = best_iterate(steps_of(golden), validation, labels, text)
    golden.check("best_iteration", torch.tensor(best.iteration))
    right = (best.probe.logits(validation, text).argmax(dim=1) == labels).double().mean() * 100
    torch.testing.assert_close(right, golden["best_val_accuracy"])
    logits = best.probe.logits(golden["draw/test_features"], text)
    golden.check_trained("logits_test", logits)
    accuracy = (logits.argmax(dim=1) == golden["draw/test_labels"]).double().mean() * 100
    torch.testing.assert_close(accuracy, golden["accuracy"])


def test_the_method_equals_the_released_code(tiny_clip, monkeypatch):
    golden = Golden("lp_plus_plus", "k8_d32_100")
    _, labels, text = given(golden)
    monkeypatch.setattr("adaptkit.features.lp_plus_plus.LPPlusPlus.weights", text)
    names = [f"class {label}" for label in range(golden.settings["n_classes"])]
    options = {"iterations": golden.settings["iterations"], "alpha_grad": "accumulate"}
    method = create_method("lp_plus_plus", tiny_clip, names, **options)
    method.start_bias = golden["draw/bias"]
    method.prepare(Support(golden["draw/train_features"], labels))
    golden.check_trained("iter100/W", method.weight)
    golden.check_trained("iter100/b", method.bias)
    golden.check_trained("iter100/alpha", method.alpha)
    method.tune(Support(golden["draw/val_features"], golden["draw/val_labels"]))
    golden.check_trained("logits_test", method.logits(golden["draw/test_features"]))


@pytest.mark.parametrize("variant", variants("lp_plus_plus"))
def test_a_gradient_that_is_set_to_zero_differs_after_the_first_step_of_alpha_only(variant):
    golden = Golden("lp_plus_plus", variant)
    pairs = list(zip(steps_of(golden), steps_of(golden, "window"), strict=True))
    assert all(torch.equal(left.probe.alpha, right.probe.alpha) for left, right in pairs[:19])
    left, right = pairs[19]
    assert not torch.equal(left.probe.alpha, right.probe.alpha)

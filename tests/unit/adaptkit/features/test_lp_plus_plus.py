"""LP++ as a method: zero-shot at the start, the fit, the kept iteration, class-bound rows, saving."""

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit import Support, create_method
from adaptkit.layers.blended_probe import best_iterate, iterates, last_iterate, start_of_probe
from tests.helpers.models import build
from trainers.config.load import load_bench

GENERATOR = torch.Generator().manual_seed(1)
LABELS = torch.arange(20) % 5
SUPPORT = Support(torch.randn(5, 32, generator=GENERATOR)[LABELS] + torch.randn(20, 32, generator=GENERATOR), LABELS)
VALIDATION = Support(SUPPORT.x + torch.randn(20, 32, generator=GENERATOR), LABELS)


def made(backbone, classes, **options):
    torch.manual_seed(0)
    return create_method("lp_plus_plus", backbone, classes, **options)


def steps_of(method, iterations=300, alpha_grad="window"):
    x = F.normalize(SUPPORT.x, dim=-1)
    start = start_of_probe(x, LABELS, method.weights, method.start_bias)
    return iterates(start, x, LABELS, method.weights, iterations, alpha_grad)


def test_it_is_zero_shot_until_it_has_images(tiny_clip, classes):
    weights = create_method("zero_shot", tiny_clip, classes).class_weights()
    torch.testing.assert_close(
        made(tiny_clip, classes).logits(SUPPORT.x), 100 * F.normalize(SUPPORT.x, dim=-1) @ weights.T
    )


@pytest.mark.parametrize("alpha_grad", ["window", "accumulate"])
def test_without_validation_images_it_keeps_the_last_iteration(tiny_clip, classes, alpha_grad):
    method = made(tiny_clip, classes, iterations=30, alpha_grad=alpha_grad)
    method.prepare(SUPPORT)
    expected = last_iterate(steps_of(method, 30, alpha_grad)).probe
    torch.testing.assert_close(method.weight.detach(), expected.weight)
    torch.testing.assert_close(method.alpha.detach(), expected.alpha)
    kept = made(tiny_clip, classes, iterations=30, alpha_grad=alpha_grad, search="none")
    kept.prepare(SUPPORT)
    kept.tune(VALIDATION)
    assert torch.equal(kept.weight, method.weight)


def test_validation_images_choose_the_iteration(tiny_clip, classes):
    method, labels = made(tiny_clip, classes), LABELS.roll(1)  # what is learnt is wrong, so that early is better
    method.prepare(SUPPORT)
    method.tune(Support(VALIDATION.x, labels))
    best = best_iterate(steps_of(method), F.normalize(VALIDATION.x, dim=-1), labels, method.weights)
    assert best.iteration < 299
    torch.testing.assert_close(method.weight.detach(), best.probe.weight)


def test_ours_sets_the_gradient_of_alpha_to_zero_and_the_recipe_of_the_paper_does_not(tiny_clip, classes):
    assert made(tiny_clip, classes).config.alpha_grad == "window"
    settings = {"PROTOCOL": "few_shot", "RECIPE": "paper", "METHODS": ["lp_plus_plus"]}
    runs = load_bench(None, settings=settings).runs
    assert {run.options.alpha_grad for run in runs} == {"accumulate"}
    assert {run.selection for run in runs} == {"validation"}
    assert {run.seed for run in runs} == set(range(1, 11))


def test_a_bias_starts_at_random_numbers_and_stays_the_same_from_fit_to_fit(tiny_clip, classes):
    method = made(tiny_clip, classes)
    assert method.start_bias.unique().numel() == 5
    assert method.start_bias.abs().max() <= 32**-0.5
    method.prepare(SUPPORT)
    first = method.weight.clone()
    method.prepare(SUPPORT)
    assert torch.equal(method.weight, first)


def test_every_view_counts_as_an_image(tiny_clip, classes):
    views, images = made(tiny_clip, classes), made(tiny_clip, classes)
    views.prepare(Support(SUPPORT.x.reshape(10, 2, 32), torch.arange(10) % 5))
    images.prepare(Support(SUPPORT.x, (torch.arange(10) % 5).repeat_interleave(2)))
    assert torch.equal(views.weight, images.weight)
    assert views.support_views == 1


def test_features_without_length_leave_it_zero_shot(tiny_clip, classes):
    method = made(tiny_clip, classes)
    before = method.logits(VALIDATION.x)
    method.prepare(Support(torch.zeros(5, 32), torch.arange(5)))
    assert torch.equal(method.logits(VALIDATION.x), before)


def test_validation_images_before_a_support_set_are_refused(tiny_clip, classes):
    with pytest.raises(ValueError, match="call prepare before tune"):
        made(tiny_clip, classes).tune(VALIDATION)


def test_other_names_are_refused(tiny_clip, classes):
    with pytest.raises(TypeError, match="a row for each of the 5 classes"):
        made(tiny_clip, classes).set_classes(["cat"])


def test_an_adapter_answers_as_the_method(classes, tmp_path):
    backbone = adaptkit.load_backbone("adaptkit-mini")
    x = torch.randn(20, backbone.embed_dim, generator=torch.Generator().manual_seed(2))
    method = made(backbone, classes)
    method.prepare(Support(x, LABELS))
    method.save_pretrained(tmp_path)
    assert sorted(method.learnt_state()) == ["alpha", "bias", "weight"]
    assert torch.equal(adaptkit.load(tmp_path).logits(x), method.logits(x))


@pytest.mark.parametrize(
    ("support", "message"),
    [
        (Support(torch.zeros(2, 32), torch.tensor([0, 5])), "from 0 to 5; there are 5 classes"),
        (Support(torch.zeros(2, 3), torch.tensor([0, 1])), "expected .N, 32."),
    ],
)
def test_a_support_set_that_cannot_be_is_named(tiny_clip, classes, support, message):
    with pytest.raises(ValueError, match=message):
        made(tiny_clip, classes).prepare(support)


def test_a_half_precision_backbone_is_fitted_in_full(classes):
    method = made(build("clip_vit", torch.bfloat16), classes)
    method.prepare(SUPPORT)
    assert method.weight.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        ours = method.logits(VALIDATION.x)
    torch.testing.assert_close(ours, method.logits(VALIDATION.x))

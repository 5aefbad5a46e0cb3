"""The blended probe: its gradients against autograd, its step sizes, and the two ways to sum alpha's gradient."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.layers.blended_probe import (
    BlendedProbe,
    best_iterate,
    iterates,
    last_iterate,
    start_of_probe,
    step_sizes,
)

GENERATOR = torch.Generator().manual_seed(0)
TEXTS = F.normalize(torch.randn(4, 8, generator=GENERATOR, dtype=torch.float64), dim=-1)
LABELS = torch.arange(12) % 4
FEATURES = F.normalize(TEXTS[LABELS] + torch.randn(12, 8, generator=GENERATOR, dtype=torch.float64), dim=-1)
BIAS = torch.rand(4, generator=GENERATOR, dtype=torch.float64)
START = start_of_probe(FEATURES, LABELS, TEXTS, BIAS)


def by_autograd(alpha_grad, iterations):
    """The same iterations with torch's optimiser and gradients."""
    weight, bias, alpha = (part.clone().requires_grad_() for part in (START.weight, START.bias, START.alpha))
    weight_step, alpha_step = step_sizes(FEATURES, TEXTS)
    optimizer = torch.optim.SGD([weight, bias], lr=weight_step, momentum=0.9)
    for iteration in range(iterations):
        optimizer.zero_grad()  # alpha is not the optimiser's
        F.cross_entropy(BlendedProbe(weight, bias, alpha).logits(FEATURES, TEXTS), LABELS).backward()
        optimizer.step()
        if (iteration + 1) % 10 == 0:
            with torch.no_grad():
                alpha -= alpha_step * alpha.grad
            if alpha_grad == "window":
                alpha.grad = None
    return weight, bias, alpha


@pytest.mark.parametrize("alpha_grad", ["window", "accumulate"])
@pytest.mark.parametrize("iterations", [1, 10, 35])
def test_the_iterations_are_those_of_autograd(alpha_grad, iterations):
    ours = last_iterate(iterates(START, FEATURES, LABELS, TEXTS, iterations, alpha_grad)).probe
    for part, expected in zip((ours.weight, ours.bias, ours.alpha), by_autograd(alpha_grad, iterations), strict=True):
        torch.testing.assert_close(part, expected.detach(), rtol=1e-9, atol=1e-9)


def test_with_weight_and_bias_zero_it_is_zero_shot():
    zero_shot = BlendedProbe(torch.zeros(4, 8).double(), torch.zeros(4).double(), torch.full((4,), 100.0).double())
    torch.testing.assert_close(zero_shot.logits(FEATURES, TEXTS), 100 * FEATURES @ TEXTS.T)


def test_step_sizes_are_the_formulas():
    weight_step, alpha_step = step_sizes(FEATURES, TEXTS)
    assert weight_step == pytest.approx(4 * 12 / float(torch.linalg.matrix_norm(FEATURES, 2) ** 2))
    assert alpha_step == pytest.approx(12 / (4 * float((FEATURES @ TEXTS.T).square().sum(dim=0).max())))


def test_step_sizes_do_not_depend_on_the_order_of_the_classes_or_on_which_gram_is_smaller():
    assert step_sizes(FEATURES, TEXTS.flip(0)) == pytest.approx(step_sizes(FEATURES, TEXTS))
    few = FEATURES[:5]
    assert step_sizes(few, TEXTS)[0] == pytest.approx(20 / float(torch.linalg.matrix_norm(few, 2) ** 2))


def test_the_same_images_twice_leave_the_steps_and_double_the_start():
    features, labels = FEATURES.repeat(2, 1), LABELS.repeat(2)
    twice = start_of_probe(features, labels, TEXTS, BIAS)
    assert step_sizes(features, TEXTS) == pytest.approx(step_sizes(FEATURES, TEXTS))
    torch.testing.assert_close(twice.weight, 2 * START.weight)
    torch.testing.assert_close(twice.alpha, START.alpha)


def test_weights_start_at_sums_and_alpha_at_one_number():
    torch.testing.assert_close(START.weight[1], FEATURES[LABELS == 1].sum(dim=0))
    own = [(FEATURES[label == LABELS] @ TEXTS[label]).mean() for label in range(4)]
    torch.testing.assert_close(START.alpha, 250 * torch.stack(own).mean().expand(4))


def test_alpha_starts_from_the_classes_that_have_images():
    seen = LABELS != 3
    start = start_of_probe(FEATURES[seen], LABELS[seen], TEXTS, BIAS)
    own = [(FEATURES[label == LABELS] @ TEXTS[label]).mean() for label in range(3)]
    torch.testing.assert_close(start.alpha, 250 * torch.stack(own).mean().expand(4))


def test_the_accumulated_gradient_is_never_set_to_zero():
    gradients = {
        kind: [step.alpha_gradient for step in iterates(START, FEATURES, LABELS, TEXTS, 12, kind)]
        for kind in ("window", "accumulate")
    }
    assert torch.equal(gradients["window"][9], gradients["accumulate"][9])
    torch.testing.assert_close(
        gradients["accumulate"][9] + gradients["window"][10], gradients["accumulate"][10], rtol=1e-3, atol=1e-6
    )


def test_alpha_steps_every_tenth_iteration():
    alphas = [step.probe.alpha for step in iterates(START, FEATURES, LABELS, TEXTS, 21)]
    changes = [number + 1 for number in range(1, 21) if not torch.equal(alphas[number], alphas[number - 1])]
    assert changes == [10, 20]


def test_of_equally_good_iterations_the_last_is_kept():
    steps = list(iterates(START, FEATURES, LABELS, TEXTS, 40))
    right = [int((step.probe.logits(FEATURES, TEXTS).argmax(dim=1) == LABELS).sum()) for step in steps]
    best = best_iterate(iter(steps), FEATURES, LABELS, TEXTS)
    assert best.iteration == max(number for number in range(40) if right[number] == max(right))


def test_one_image_per_class_stays_finite():
    start = start_of_probe(FEATURES[:4], LABELS[:4], TEXTS, BIAS)
    probe = last_iterate(iterates(start, FEATURES[:4], LABELS[:4], TEXTS, 300)).probe
    assert all(part.isfinite().all() for part in (probe.weight, probe.bias, probe.alpha))


def test_features_without_length_take_no_step():
    assert step_sizes(torch.zeros(3, 8), TEXTS.float()) == (0, 0)

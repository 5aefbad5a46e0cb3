"""The linear probe: fitting, the search of its penalty step by step, class-bound rows."""

import pytest
import torch

from adaptkit import Support, create_method
from adaptkit.layers.logistic_regression import fit_logistic_regression

GENERATOR = torch.Generator().manual_seed(2)
CENTRES = torch.randn(5, 32, generator=GENERATOR)


def examples(n, noise):
    labels = torch.arange(n) % 5
    return Support(CENTRES[labels] + noise * torch.randn(n, 32, generator=GENERATOR), labels)


SUPPORT, VALIDATION = examples(20, 2.0), examples(40, 2.0)


def test_it_starts_without_a_preference_and_fits_the_support_set(tiny_clip, classes):
    method = create_method("linear_probe", tiny_clip, classes)
    assert not method.logits(SUPPORT.x).any()
    method.prepare(SUPPORT)
    weight, bias = fit_logistic_regression(SUPPORT.x, SUPPORT.labels, 5, 1.0)
    torch.testing.assert_close(method.weight.double(), weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        method.logits(VALIDATION.x).double(), VALIDATION.x.double() @ weight.T + bias, rtol=1e-4, atol=1e-4
    )


def released_search(halvings):
    """lpclip's search, written out: the coarse grid, then the two ends of a shrinking interval."""

    def right(exponent):
        weight, bias = fit_logistic_regression(SUPPORT.x, SUPPORT.labels, 5, 10.0**exponent)
        return int(((VALIDATION.x.double() @ weight.T + bias).argmax(dim=1) == VALIDATION.labels).sum())

    coarse = [6, 4, 2, 0, -2, -4, -6]
    accuracies = [right(exponent) for exponent in coarse]
    peak = coarse[accuracies.index(max(accuracies))]
    left, right_end, chosen = peak - 1.0, peak + 1.0, float(peak)
    for _ in range(halvings):
        if right(left) < right(right_end):
            chosen, left = right_end, 0.5 * (left + right_end)
        else:
            chosen, right_end = left, 0.5 * (left + right_end)
    return 10.0**chosen


@pytest.mark.parametrize("halvings", [0, 3])
def test_the_search_is_the_released_one(tiny_clip, classes, halvings):
    method = create_method("linear_probe", tiny_clip, classes, halvings=halvings)
    method.prepare(SUPPORT)
    method.tune(VALIDATION)
    assert method.c == pytest.approx(released_search(halvings))
    weight, _ = fit_logistic_regression(SUPPORT.x, SUPPORT.labels, 5, method.c)
    torch.testing.assert_close(method.weight.double(), weight, rtol=1e-4, atol=1e-6)


def test_the_loss_is_the_objective_of_the_fit(tiny_clip, classes):
    method = create_method("linear_probe", tiny_clip, classes, c=0.1, tol=1e-9, max_iter=5000)
    method.prepare(SUPPORT)
    method.backward(SUPPORT.x, SUPPORT.labels)
    assert method.weight.grad.abs().max() < 1e-5


def test_searching_without_a_support_set_is_an_error(tiny_clip, classes):
    with pytest.raises(ValueError, match="call prepare before tune"):
        create_method("linear_probe", tiny_clip, classes).tune(VALIDATION)


def test_other_names_are_refused(tiny_clip, classes):
    with pytest.raises(TypeError, match="a row for each of the 5 classes"):
        create_method("linear_probe", tiny_clip, classes).set_classes(["cat"])


def test_what_it_learns_loads_into_a_fresh_method(tiny_clip, classes):
    method, fresh = (create_method("linear_probe", tiny_clip, classes) for _ in range(2))
    method.prepare(SUPPORT)
    fresh.load_learnt_state(method.learnt_state())
    assert torch.equal(fresh.logits(SUPPORT.x), method.logits(SUPPORT.x))

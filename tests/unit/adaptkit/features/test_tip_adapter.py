"""What Tip-Adapter's recorded numbers cannot show: an empty cache, the search against a double loop, saving."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import Support, create_method
from adaptkit.layers.support_cache import SearchGrid
from tests.helpers.models import build

GENERATOR = torch.Generator().manual_seed(1)
SUPPORT = Support(torch.randn(15, 32, generator=GENERATOR), torch.arange(15) % 5)
VALIDATION = Support(SUPPORT.x + 2 * torch.randn(15, 32, generator=GENERATOR), SUPPORT.labels)
NAMES = ("tip_adapter", "tip_adapter_f")


@pytest.mark.parametrize("name", NAMES)
def test_without_a_cache_it_is_zero_shot(name, tiny_clip, classes):
    method = create_method(name, tiny_clip, classes)
    zero_shot = 100 * F.normalize(SUPPORT.x, dim=-1) @ create_method("zero_shot", tiny_clip, classes).class_weights().T
    torch.testing.assert_close(method.logits(SUPPORT.x), zero_shot)


def test_a_support_image_is_its_own_key(tiny_clip, classes):
    method = create_method("tip_adapter", tiny_clip, classes)
    method.prepare(SUPPORT)
    affinity = F.normalize(SUPPORT.x, dim=-1) @ method.cache.keys.T
    torch.testing.assert_close(affinity.diagonal(), torch.ones(15))


def test_a_key_is_the_mean_of_the_views_as_they_are(tiny_clip, classes):
    views = torch.randn(4, 3, 32) * torch.tensor([1.0, 5.0, 25.0])[:, None]
    method = create_method("tip_adapter", tiny_clip, classes)
    method.prepare(Support(views, torch.arange(4)))
    torch.testing.assert_close(method.cache.keys, F.normalize(views.mean(dim=1), dim=-1))
    assert method.support_views == 10


def test_fine_tuning_starts_at_tip_adapter_and_learns_the_keys_alone(tiny_clip, classes):
    fixed, learnt = (create_method(name, tiny_clip, classes) for name in NAMES)
    for method in (fixed, learnt):
        method.prepare(SUPPORT)
    torch.testing.assert_close(learnt.logits(VALIDATION.x), fixed.logits(VALIDATION.x))
    assert not fixed.learnt_parameters()
    assert [tuple(keys.shape) for keys in learnt.learnt_parameters().values()] == [(15, 32)]
    learnt.backward(VALIDATION.x, VALIDATION.labels)
    assert learnt.cache.keys.grad.any()


def double_loop(method, grid):
    """The released search, pair by pair."""
    best, found = 0, (0.0, 0.0)
    for beta in grid.betas:
        for alpha in grid.alphas:
            method.cache.beta.fill_(beta)
            method.cache.alpha.fill_(alpha)
            right = int((method.logits(VALIDATION.x).argmax(dim=1) == VALIDATION.labels).sum())
            if right > best:
                best, found = right, (beta, alpha)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_search_is_the_double_loop(name, tiny_clip, classes, monkeypatch):
    monkeypatch.setattr("adaptkit.layers.support_cache.SEARCH_BYTES", 2000)  # several passes over the images
    options = {"beta_max": 12.0, "alpha_max": 60.0, "beta_steps": 6, "alpha_steps": 5}
    method = create_method(name, tiny_clip, classes, **options)
    method.prepare(SUPPORT)
    expected = double_loop(method, SearchGrid(12.0, 60.0, 6, 5))
    method.tune(VALIDATION)
    assert (method.cache.beta.item(), method.cache.alpha.item()) == pytest.approx(expected)


def test_where_nothing_is_right_the_search_falls_back_to_zero_shot(tiny_clip, classes):
    method = create_method("tip_adapter", tiny_clip, classes, beta_steps=2, alpha_steps=2)
    method.prepare(Support(SUPPORT.x[:1], torch.tensor([0])))
    wrong = (method.logits(SUPPORT.x).argmin(dim=1)).expand(15)
    method.tune(Support(SUPPORT.x, wrong))
    assert method.cache.alpha == 0


def test_without_a_search_alpha_and_beta_stay(tiny_clip, classes):
    method = create_method("tip_adapter", tiny_clip, classes, search="none", alpha=2.0, beta=5.5)
    method.prepare(SUPPORT)
    method.tune(VALIDATION)
    assert (method.cache.alpha.item(), method.cache.beta.item()) == (2.0, 5.5)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_keeps_loads_into_a_fresh_method(name, tiny_clip, classes):
    method = create_method(name, tiny_clip, classes, beta_steps=3, alpha_steps=3)
    method.prepare(SUPPORT)
    method.tune(VALIDATION)
    fresh = create_method(name, tiny_clip, classes)
    fresh.load_learnt_state(method.learnt_state())
    assert torch.equal(fresh.logits(VALIDATION.x), method.logits(VALIDATION.x))
    with pytest.raises(ValueError, match="expected"):
        fresh.load_learnt_state(method.learnt_state() | {"cache.keys": torch.zeros(3, 32)})
    with pytest.raises(ValueError, match="do not belong here"):
        fresh.load_learnt_state({})


def test_a_class_without_support_images_keeps_its_column(tiny_clip, classes):
    method = create_method("tip_adapter", tiny_clip, classes)
    method.prepare(Support(SUPPORT.x[:4], SUPPORT.labels[:4]))
    assert method.cache.values.shape == (4, 5)
    assert method.logits(SUPPORT.x).shape == (15, 5)


@pytest.mark.parametrize(
    ("support", "message"),
    [
        (Support(torch.zeros(2, 32), torch.tensor([0, 5])), "there are 5 classes"),
        (Support(torch.zeros(2, 3), torch.tensor([0, 1])), "expected .N, 32."),
    ],
)
def test_a_support_set_that_cannot_be_is_named(tiny_clip, classes, support, message):
    with pytest.raises(ValueError, match=message):
        create_method("tip_adapter", tiny_clip, classes).prepare(support)


@pytest.mark.parametrize("name", NAMES)
def test_other_names_are_refused(name, tiny_clip, classes):
    with pytest.raises(TypeError, match="of the 5 classes"):
        create_method(name, tiny_clip, classes).set_classes(["cat"])


def test_large_beta_stays_exact_on_a_half_precision_backbone(classes):
    backbone = build("clip_vit", torch.bfloat16)
    method = create_method("tip_adapter", backbone, classes, beta=50.0)
    method.prepare(SUPPORT)
    assert method.cache.keys.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        ours = method.logits(VALIDATION.x)
    torch.testing.assert_close(ours, method.logits(VALIDATION.x))

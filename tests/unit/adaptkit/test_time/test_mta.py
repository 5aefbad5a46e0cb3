"""MTA: the mode of an image's views, its early ends, and few, equal or far views."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import TestViews, create_method
from adaptkit.contract.test_time import Seen
from adaptkit.test_time.mta import affinities, bandwidths, robust_mode
from tests.conftest import CLASSES


def views(n_images=6, n_views=16, noise=1.0, dtype=torch.float64, width=12, n_classes=5):
    """Unit features (B, V, D) around one of each image, and their logits."""
    generator = torch.Generator().manual_seed(n_views)
    texts = F.normalize(torch.randn(n_classes, width, generator=generator, dtype=torch.float64), dim=-1)
    centres = F.normalize(torch.randn(n_images, 1, width, generator=generator, dtype=torch.float64), dim=-1)
    spread = noise * torch.randn(n_images, n_views, width, generator=generator, dtype=torch.float64) / width**0.5
    features = F.normalize(centres + spread, dim=-1).to(dtype)
    return Seen(features, 100 * features @ texts.to(dtype).T)


def mode_by_hand(features, logits, lambda_y=0.2, lambda_q=4.0, still=1e-6):
    """The specification with plain loops, for one image: (V, D) and (V, C) -> the mode, y, and all steps."""
    n_views, p, steps = len(features), logits.softmax(dim=-1), 0
    h2 = []
    for i in range(n_views):
        squared = sorted(float((features[i] - features[j]).square().sum()) for j in range(n_views) if j != i)
        nearest = squared[: int(0.3 * (n_views - 1))]
        h2.append(sum(nearest) / len(nearest) / 2)
    h2 = torch.tensor(h2, dtype=features.dtype)

    def densities(mode):
        return torch.exp(-(features - mode).square().sum(dim=1) / (2 * h2))

    y, mode = torch.full((n_views,), 1 / n_views, dtype=features.dtype), features[0]
    for _ in range(5):
        phi = densities(mode)
        for _ in range(5):
            before, steps = y, steps + 1
            y = ((phi + lambda_q * (p @ p.T) @ y) / lambda_y).softmax(dim=0)
            if (y - before).norm() < still:
                break
        for _ in range(5):
            before, steps = mode, steps + 1
            mode = F.normalize((y * densities(mode)) @ features, dim=0)
            if (mode - before).norm() < still:
                break
    return mode, y, steps


@pytest.mark.parametrize("lambda_q", [0.0, 4.0])
@pytest.mark.parametrize("noise", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("n_views", [5, 16, 64])
def test_all_images_together_end_where_each_does_by_hand(n_views, noise, lambda_q):
    seen = views(n_views=n_views, noise=noise)
    mode, y = robust_mode(seen.features, seen.logits, lambda_q=lambda_q)
    by_hand = [mode_by_hand(f, one, lambda_q=lambda_q) for f, one in zip(seen.features, seen.logits, strict=True)]
    torch.testing.assert_close(mode, torch.stack([one[0] for one in by_hand]), rtol=0, atol=1e-10)
    torch.testing.assert_close(y, torch.stack([one[1] for one in by_hand]), rtol=0, atol=1e-10)


def test_images_that_come_to_rest_early_are_among_those_by_hand():
    seen = views(n_views=16, noise=1.0)
    steps = [mode_by_hand(f, one)[2] for f, one in zip(seen.features, seen.logits, strict=True)]
    assert min(steps) < max(steps) <= 50


def test_an_image_that_rests_stays_while_others_go_on(monkeypatch):
    """With a coarse end, one step more would be seen: the ends of one image must not wait for another."""
    monkeypatch.setattr("adaptkit.test_time.mta.AT_REST", 0.05)
    seen = views(n_views=16, noise=1.0)
    by_hand = [mode_by_hand(f, one, still=0.05) for f, one in zip(seen.features, seen.logits, strict=True)]
    assert len({steps for _, _, steps in by_hand}) > 1
    mode, _ = robust_mode(seen.features, seen.logits)
    torch.testing.assert_close(mode, torch.stack([one[0] for one in by_hand]), rtol=0, atol=1e-10)


def test_images_do_not_change_the_answers_to_each_other(tiny_clip):
    method = create_method("mta", tiny_clip, CLASSES).eval()
    seen = views(width=tiny_clip.embed_dim)
    with torch.no_grad():
        together = method.logits_of_views(seen)
        for row, features, logits in zip(together, seen.features, seen.logits, strict=True):
            torch.testing.assert_close(method.logits_of_views(Seen(features[None], logits[None]))[0], row)
        assert method.logits_of_views(Seen(seen.features[:0], seen.logits[:0])).shape == (0, 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_y_sums_to_one_and_the_mode_has_length_one(dtype):
    seen = views(dtype=dtype)
    mode, y = robust_mode(seen.features, seen.logits)
    assert mode.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(y.sum(dim=1), torch.ones(6, dtype=mode.dtype))
    torch.testing.assert_close(mode.norm(dim=1), torch.ones(6, dtype=mode.dtype))


@pytest.mark.parametrize("n_views", [1, 2, 5, 64])
def test_equal_views_are_classified_as_zero_shot_classifies_them(n_views, tiny_clip):
    images = torch.randn(4, 3, 32, 32)
    zero_shot = create_method("zero_shot", tiny_clip, CLASSES).eval()
    method = create_method("mta", tiny_clip, CLASSES).eval()
    with torch.no_grad():
        found = method(images[:, None].expand(-1, n_views, -1, -1, -1))
        torch.testing.assert_close(found, zero_shot(images), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(method(images), zero_shot(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_views", [2, 3, 4])
def test_few_views_have_a_neighbour_and_a_mode(n_views):
    seen = views(n_views=n_views)
    squared = torch.cdist(seen.features, seen.features).square()
    nearest = squared.masked_fill(torch.eye(n_views, dtype=torch.bool), torch.inf).amin(dim=-1)
    torch.testing.assert_close(bandwidths(seen.features).square(), nearest / 2)
    mode, y = robust_mode(seen.features, seen.logits)
    assert mode.isfinite().all()
    torch.testing.assert_close(y.sum(dim=1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_views_that_are_equal_in_part_leave_a_finite_mode(dtype):
    features = views(n_views=16, dtype=dtype).features.clone()
    features[:, 8:] = features[:, 8:9]
    features[:, :8] = features[:, :1]
    mode, _ = robust_mode(features, views(n_views=16, dtype=dtype).logits)
    assert mode.isfinite().all()
    torch.testing.assert_close(mode.norm(dim=1), torch.ones(6, dtype=dtype))


@pytest.mark.parametrize("lambda_y", [1e-4, 1e-2])
def test_weights_that_underflow_leave_a_mode_of_length_one(lambda_y):
    seen = views(noise=3.0, dtype=torch.float32)
    mode, _ = robust_mode(seen.features, seen.logits, lambda_y=lambda_y)
    torch.testing.assert_close(mode.norm(dim=1), torch.ones(6))


def test_a_view_that_is_far_and_of_another_opinion_counts_less():
    seen = views(noise=0.3)
    features, logits = seen.features.clone(), seen.logits.clone()
    features[:, 7], logits[:, 7] = -features[:, 7], -logits[:, 7]
    mode, y = robust_mode(features, logits)
    assert (y[:, 7] < 1e-6).all()
    assert ((mode[:, None] @ features.mT)[:, 0, 7] < -0.8).all()


def test_agreement_is_that_of_probabilities():
    logits = torch.tensor([[[0.0, 0.0], [200.0, 0.0], [0.0, 200.0]]])
    expected = torch.tensor([[[0.5, 0.5, 0.5], [0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]])
    torch.testing.assert_close(affinities(logits), expected)


@pytest.mark.parametrize(
    ("option", "value"), [("lambda_y", 5.0), ("lambda_q", 0.0), ("neighbours", 1.0)], ids=lambda given: str(given)
)
def test_every_option_of_the_arithmetic_reaches_the_answer(option, value, tiny_clip):
    seen = views(width=tiny_clip.embed_dim, dtype=torch.float32)
    with torch.no_grad():
        default = create_method("mta", tiny_clip, CLASSES).eval().logits_of_views(seen)
        changed = create_method("mta", tiny_clip, CLASSES, **{option: value}).eval().logits_of_views(seen)
    assert not torch.allclose(default, changed)


def test_crops_do_not_go_through_augmix_unless_it_is_asked_for(tiny_clip):
    assert create_method("mta", tiny_clip, CLASSES).test_views == TestViews(64, augmix=False, seed=0)
    mixed = create_method("mta", tiny_clip, CLASSES, n_views=8, augmix=True, view_seed=3)
    assert mixed.test_views == TestViews(8, augmix=True, seed=3)


@pytest.mark.parametrize("option", ["lambda_y", "lambda_q"])
def test_a_weight_that_is_text_is_refused(option, tiny_clip):
    with pytest.raises(ValueError, match=rf"{option}='0.2'; expected a number"):
        create_method("mta", tiny_clip, CLASSES, **{option: "0.2"})


@pytest.mark.parametrize("inner", ["cocoop", "tip_adapter", "linear_probe"])
def test_a_method_without_class_weights_is_refused(inner, tiny_clip):
    with pytest.raises(ValueError, match=r"has no class weights that hold for every feature; put it around zero_shot"):
        create_method(inner, tiny_clip, CLASSES, wrap=["mta"])


@pytest.mark.parametrize("inner", ["coop", "clip_adapter", "taskres", "clip_lora"])
def test_the_mode_meets_the_class_weights_of_the_method_inside(inner, tiny_clip):
    method = create_method(inner, tiny_clip, CLASSES, wrap=["mta"]).eval()
    for parameter in method.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        seen = method.seen(method.consume(torch.randn(3, 8, 3, 32, 32)))
        mode, _ = robust_mode(seen.features, seen.logits)
        expected = tiny_clip.logits(mode, method.inner.class_weights())
        torch.testing.assert_close(method.logits_of_views(seen), expected)
        with method.encode_classes_once():
            torch.testing.assert_close(method.logits_of_views(seen), expected)


def test_features_and_logits_of_other_views_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 4, 8\) and logits \(2, 5, 3\); expected \(images"):
        robust_mode(torch.zeros(2, 4, 8), torch.zeros(2, 5, 3))

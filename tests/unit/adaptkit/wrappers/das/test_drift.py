"""DAS's own term of the loss: how far its towers are from those that were loaded."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_method
from adaptkit.classes.class_set import ClassSet
from adaptkit.classes.class_weights import class_weights
from adaptkit.wrappers import DASConfig

NAMES = ("cat", "dog", "snow leopard")
SKIPPING = {"select": "given", "skip_vision": 1, "skip_text": 1, "vision_blocks": (1,), "text_blocks": (1,)}


def das(backbone, method="zero_shot", **options):
    torch.manual_seed(0)
    return create_method(method, backbone, NAMES, wrap=[("das", DASConfig(**{**SKIPPING, **options}))])


def test_it_is_one_minus_the_cosines_of_images_and_classes(tiny_clip, batch):
    images, labels = batch[0], batch[1] % 3
    method = das(tiny_clip, distill=2.0).eval()
    with torch.no_grad():
        view, classes = method.backbone, ClassSet(NAMES)
        of_images = F.cosine_similarity(view.encode_image(images), tiny_clip.encode_image(images), dim=-1).mean()
        of_classes = (class_weights(view, classes) * class_weights(tiny_clip, classes)).sum(dim=-1).mean()
        expected = 2.0 * (2 - of_images - of_classes)
        torch.testing.assert_close(method.regularizer(images, labels), expected)
        torch.testing.assert_close(
            method.loss(images, labels), method.inner.loss(method.inner_input(images), labels) + expected
        )
    assert expected > 0.01


def test_nothing_skipped_is_no_drift_at_first(tiny_clip, batch):
    method = das(tiny_clip, distill=1.0, skip_vision=0, skip_text=0, vision_blocks=(), text_blocks=())
    assert method.regularizer(batch[0], batch[1] % 3).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("encoder", ["vision", "text"])
def test_a_tower_that_is_left_as_it_is_does_not_drift(tiny_clip, batch, encoder):
    gone = "text" if encoder == "vision" else "vision"
    method = das(tiny_clip, distill=1.0, encoder=encoder, **{f"skip_{gone}": 0, f"{gone}_blocks": ()})
    x = batch[0] if method.consumes == "images" else tiny_clip.encode_image(batch[0])
    assert 0 < method.regularizer(x, batch[1] % 3).item() < 1


@pytest.mark.parametrize("name", ["coop", "prograd", "maple", "promptsrc", "fdt"])
def test_what_is_learnt_takes_the_gradient_of_both_terms(tiny_clip, batch, name):
    images, labels = batch[0], batch[1] % 3
    gradients = []
    for distill in (0.0, 1.0):
        method = das(tiny_clip, name, distill=distill, init="normal").eval()
        method.backward(images, labels)
        gradients.append({key: value.grad for key, value in method.learnt_parameters().items()})
    method = das(tiny_clip, name, distill=1.0, init="normal").eval()
    method.drift_term(images).backward()
    for key, value in method.learnt_parameters().items():
        expected = gradients[0][key] if value.grad is None else gradients[0][key] + value.grad
        torch.testing.assert_close(gradients[1][key], expected, rtol=1e-4, atol=1e-5)


def test_other_classes_drift_by_their_own_names(tiny_clip, batch):
    method = das(tiny_clip, distill=1.0, encoder="text", skip_vision=0, vision_blocks=()).eval()
    features = tiny_clip.encode_image(batch[0])
    before = method.regularizer(features, batch[1] % 3)
    method.set_classes(["violin", "sushi"])
    assert (method.regularizer(features, batch[1] % 2) - before).abs().item() > 1e-6


def test_the_loaded_tower_sees_the_same_images_once(tiny_clip, batch, monkeypatch):
    method = das(tiny_clip, distill=1.0).eval()
    loaded, seen = method._drift.loaded, []
    monkeypatch.setattr(loaded, "encode_image", lambda images: seen.append(images) or tiny_clip.encode_image(images))
    images = batch[0].clone()
    first, again = (method.drift_term(images) for _ in range(2))
    assert torch.equal(first, again)
    assert len(seen) == 1
    images.mul_(0.5)
    assert not torch.equal(method.drift_term(images), first)
    assert len(seen) == 2
    with torch.inference_mode():
        method.drift_term(images.clone())
    assert len(seen) == 3


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match=r"distill=-1\.0; expected 0 or more"):
        DASConfig(distill=-1.0)

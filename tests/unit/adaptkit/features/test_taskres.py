"""What TaskRes' recorded numbers cannot show: names, bases, scale, class-bound rows."""

import pytest
import torch

from adaptkit import create_method, templates_for
from adaptkit.classes.templates import IMAGENET_SELECTED
from tests.helpers.models import build

FEATURES = torch.randn(7, 32, generator=torch.Generator().manual_seed(1))


def test_it_starts_as_zero_shot_where_names_have_no_underscore(tiny_clip):
    names = ["golden retriever", "ramen"]
    templates = templates_for("oxford_pets")
    method = create_method("taskres", tiny_clip, names, templates=templates)
    zero_shot = create_method("zero_shot", tiny_clip, names, templates=templates)
    torch.testing.assert_close(method.logits(FEATURES), zero_shot.logits(FEATURES))


def test_underscores_are_kept_as_released_or_replaced(tiny_clip):
    kept, replaced = (
        create_method("taskres", tiny_clip, ["highway_or_road", "ramen"], underscores=how).base
        for how in ("keep", "replace")
    )
    assert not torch.allclose(kept[0], replaced[0])
    torch.testing.assert_close(replaced[0], tiny_clip.encode_text(["a photo of a highway or road."])[0])
    torch.testing.assert_close(kept[1], replaced[1])


def test_several_templates_are_averaged_as_they_are(tiny_clip):
    method = create_method("taskres", tiny_clip, ["ramen"], template_set="imagenet_selected")
    texts = [template.format("ramen") for template in (*IMAGENET_SELECTED, "a photo of a {}.")]
    torch.testing.assert_close(method.base[0], tiny_clip.encode_text(texts).mean(dim=0))
    unit = create_method("taskres", tiny_clip, ["ramen"], base="unit").base
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(1))


def test_twice_the_scale_is_half_the_residual(tiny_clip, classes):
    once, twice = (create_method("taskres", tiny_clip, classes, alpha=alpha) for alpha in (0.5, 1.0))
    with torch.no_grad():
        once.residual.normal_()
        twice.residual.copy_(once.residual / 2)
    torch.testing.assert_close(once.logits(FEATURES), twice.logits(FEATURES))


def test_every_class_has_a_gradient_also_without_an_image(tiny_clip, classes):
    method = create_method("taskres", tiny_clip, classes)
    method.backward(FEATURES[:2], torch.tensor([0, 1]))
    assert method.residual.grad.abs().sum(dim=1).min() > 0
    assert list(method.learnt_parameters()) == ["residual"]


def test_other_names_are_refused(tiny_clip, classes):
    with pytest.raises(TypeError, match="a row for each of the 5 classes"):
        create_method("taskres", tiny_clip, classes).set_classes(["cat"])


def test_half_precision_backbones_train_in_fp32(classes):
    method = create_method("taskres", build("clip_vit", torch.bfloat16), classes)
    with torch.autocast("cpu", torch.bfloat16):
        assert method.loss(FEATURES.bfloat16(), torch.arange(7) % 5).dtype == torch.float32
    assert method.residual.dtype == torch.float32

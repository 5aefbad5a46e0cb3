"""What the recorded numbers of CLIP-LoRA cannot show: other options, merging, noise, families of backbones."""

import pytest
import torch

from adaptkit import create_method
from tests.helpers.models import FAMILIES, WITH_VIT_BLOCKS, build


def randomise(method, std=0.2):
    """Updates that matter."""
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter.normal_(std=std)
    return method.eval()


def test_it_starts_as_zero_shot(tiny_clip, classes, batch):
    method = create_method("clip_lora", tiny_clip, classes).eval()
    zero_shot = create_method("zero_shot", tiny_clip, classes)
    torch.testing.assert_close(method(batch[0]), zero_shot(batch[0]), rtol=0, atol=1e-4)


def test_at_the_start_only_b_has_a_gradient(tiny_clip, classes, batch):
    method = create_method("clip_lora", tiny_clip, classes)
    method.backward(*batch)
    for name, parameter in method.learnt_parameters().items():
        assert bool(parameter.grad.any()) == name.endswith(".B"), name


@pytest.mark.parametrize(
    ("options", "towers", "projections", "blocks"),
    [
        ({}, 2, 3, 3),
        ({"encoder": "text", "params": ("q",)}, 1, 1, 3),
        ({"encoder": "vision", "params": ("q", "k", "v", "o"), "vision_blocks": (-1,)}, 1, 4, 1),
        ({"text_blocks": (0, 2), "vision_blocks": (1, 2)}, 2, 3, 2),
    ],
)
def test_parameters_are_two_factors_for_each_projection(tiny_clip, classes, options, towers, projections, blocks):
    learnt = create_method("clip_lora", tiny_clip, classes, r=2, **options).learnt_parameters()
    assert sum(parameter.numel() for parameter in learnt.values()) == towers * projections * blocks * 2 * 2 * 64
    assert {parameter.dtype for parameter in learnt.values()} == {torch.float32}


def test_merging_keeps_the_logits_and_unmerging_restores_them_exactly(tiny_clip, classes, batch):
    method = randomise(create_method("clip_lora", tiny_clip, classes, params=("q", "k", "v", "o")))
    weights = {name: weight.clone() for name, weight in tiny_clip.state_dict().items()}
    before = method(batch[0])
    method.merge()
    merged = method(batch[0])
    torch.testing.assert_close(merged, before, rtol=0, atol=1e-3)
    assert not torch.equal(merged, before)
    method.unmerge()
    assert torch.equal(method(batch[0]), before)
    assert all(torch.equal(weight, weights[name]) for name, weight in tiny_clip.state_dict().items())


def test_training_and_loading_unmerge(tiny_clip, classes, batch):
    method = randomise(create_method("clip_lora", tiny_clip, classes, dropout=0.0))
    start = method.learnt_state()
    method.merge()
    method.train()
    method.backward(*batch)
    assert all(parameter.grad is not None for parameter in method.learnt_parameters().values())
    method.eval()
    method.merge()
    method.load_learnt_state({name: torch.zeros_like(tensor) for name, tensor in start.items()})
    zero_shot = create_method("zero_shot", tiny_clip, classes)
    torch.testing.assert_close(method(batch[0]), zero_shot(batch[0]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_runs_it_in_the_towers_that_it_has(family, classes):
    """The plain backbone with the updates folded in says the same: through open_clip's own blocks where not causal."""
    backbone = build(family)
    encoder = "both" if family in WITH_VIT_BLOCKS else "text"
    method = randomise(create_method("clip_lora", backbone, classes, encoder=encoder, params=("q", "v", "o")), std=0.05)
    size = backbone.preprocess_cfg.image_size
    images = torch.randn(2, 3, *size)
    ours, plain = method(images), create_method("zero_shot", method.merge_and_unload(), classes)(images)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=2e-3)
    assert not torch.allclose(ours, create_method("zero_shot", backbone, classes)(images), atol=1e-2)


def test_an_image_tower_without_blocks_is_refused(classes):
    with pytest.raises(ValueError, match=r"clip_lora with encoder=.both. needs an image tower"):
        create_method("clip_lora", build("modified_resnet"), classes)


def test_it_takes_features_where_only_the_text_tower_learns(tiny_clip, classes, batch):
    method = randomise(create_method("clip_lora", tiny_clip, classes, encoder="text"))
    assert method.consumes == "features"
    assert torch.equal(method(batch[0]), method.logits(tiny_clip.encode_image(batch[0])))


def test_each_class_has_its_own_noise_as_released_or_shares_it_when_asked(tiny_clip):
    names = ["ramen", "ramen", "a dog"]
    for noise, same in (("per_class", False), ("shared", True)):
        method = randomise(create_method("clip_lora", tiny_clip, names, encoder="text", text_noise=noise))
        weights = method.train().class_weights()
        assert torch.equal(weights[0], weights[1]) == same
        weights = method.eval().class_weights()
        assert torch.equal(weights[0], weights[1])


def test_prompts_kept_apart_are_the_same_function(tiny_clip, classes):
    method = randomise(create_method("clip_lora", tiny_clip, classes, dropout=1e-9))
    together = method.eval().class_weights()
    apart = method.train().class_weights()
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-5)


def test_other_names_keep_what_is_learnt(tiny_clip, classes, batch):
    method = randomise(create_method("clip_lora", tiny_clip, classes))
    fresh = create_method("clip_lora", tiny_clip, ["cat", "dog"]).eval()
    fresh.load_learnt_state(method.learnt_state())
    method.set_classes(["cat", "dog"])
    assert torch.equal(method(batch[0]), fresh(batch[0]))


def test_the_default_template_can_take_the_place_of_the_classes_own(tiny_clip, classes):
    asked = create_method("clip_lora", tiny_clip, classes, templates=["art of a {}."], template_set="default").eval()
    default = create_method("clip_lora", tiny_clip, classes).eval()
    torch.testing.assert_close(asked.class_weights(), default.class_weights())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 0}, "r=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"params": ("q", "mlp")}, "each entry one of q, k, v, o"),
        ({"text_blocks": (3,)}, "text_blocks names block 3; the tower has blocks 0 to 2"),
    ],
)
def test_options_that_cannot_be_are_named(tiny_clip, classes, options, message):
    with pytest.raises(ValueError, match=message):
        create_method("clip_lora", tiny_clip, classes, **options)


def test_several_templates_are_an_ensemble_as_in_zero_shot(tiny_clip, classes):
    templates = ["a photo of a {}.", "art of the {}.", "{} texture."]
    method = create_method("clip_lora", tiny_clip, classes, templates=templates)
    zero_shot = create_method("zero_shot", tiny_clip, classes, templates=templates)
    for training in (True, False):
        torch.testing.assert_close(method.train(training).class_weights(), zero_shot.class_weights())

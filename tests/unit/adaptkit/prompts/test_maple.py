"""MaPLe: couplings, which tokens are learnt, and how often a tower's tokens are replaced."""

import pytest
import torch

from adaptkit import create_method
from adaptkit.towers import tree_encoder, vision
from tests.helpers.models import build


def test_later_couplings_start_equal_and_learn_apart(tiny_clip, classes, batch):
    method = create_method("maple", tiny_clip, classes, depth=3)
    first, second, third = method.couplings
    assert torch.equal(second.weight, third.weight)
    assert not torch.equal(first.weight, second.weight)
    method.backward(*batch)
    assert not torch.equal(second.weight.grad, third.weight.grad)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_each_tower_s_prompts_are_replaced_before_every_prompted_block_but_the_first(
    depth, tiny_clip, classes, batch, monkeypatch
):
    method = create_method("maple", tiny_clip, classes, depth=depth)
    replaced, replace_tokens = [], vision.replace_tokens
    for module in (vision, tree_encoder):
        monkeypatch.setattr(
            module, "replace_tokens", lambda x, *rest: replaced.append(x.shape[-1]) or replace_tokens(x, *rest)
        )
    method(batch[0])
    assert len(replaced) == 2 * (depth - 1)


def test_two_tokens_leave_the_other_words_as_they_are(tiny_clip, classes):
    method = create_method("maple", tiny_clip, classes, depth=1)
    assert method.context.words == "of a"
    zero_shot = create_method("zero_shot", tiny_clip, classes, templates=["a photo of a {}."])
    torch.testing.assert_close(method.class_weights(), zero_shot.class_weights())


def test_it_does_not_start_as_zero_shot(tiny_clip, classes, batch):
    zero_shot = create_method("zero_shot", tiny_clip, classes)
    assert not torch.allclose(create_method("maple", tiny_clip, classes)(batch[0]), zero_shot(batch[0]), atol=1e-2)


def test_the_shorter_tower_bounds_the_depth(classes):
    backbone = build("clip_vit")
    view = backbone.with_towers(
        vision=vision.VisionTower(**vars(backbone.vision_tower) | {"blocks": [*backbone.vision_tower.blocks][:2]})
    )
    method = create_method("maple", view, classes)
    assert (len(method.text_prompts), len(method.couplings)) == (1, 2)


def test_vision_gradients_reach_the_text_prompts_through_the_couplings(tiny_clip, classes, batch):
    method = create_method("maple", tiny_clip, classes)
    with method.encode_classes_once():  # the text side gives no gradient here
        method.loss(*batch).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.learnt_parameters().values())


def test_other_classes_keep_what_is_learnt(tiny_clip, classes, batch):
    method = create_method("maple", tiny_clip, classes)
    learnt = method.learnt_state()
    method.set_classes(["cat", "dog"])
    assert method(batch[0]).shape == (6, 2)
    assert all(torch.equal(value, learnt[name]) for name, value in method.learnt_state().items())


def test_an_image_tower_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"maple needs .* ModifiedResNet.*; use a ViT"):
        create_method("maple", build("modified_resnet"), ["cat", "dog"])


@pytest.mark.parametrize("option", ["n_ctx", "depth"])
def test_options_that_leave_nothing_to_learn_are_refused(option, tiny_clip, classes):
    with pytest.raises(ValueError, match=f"{option}=0"):
        create_method("maple", tiny_clip, classes, **{option: 0})

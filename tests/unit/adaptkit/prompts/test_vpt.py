"""VPT: the image tower is prompted, the texts are encoded once and never again."""

import pytest
import torch

from adaptkit import create_method
from tests.helpers.models import build


def test_a_shallow_prompt_has_tokens_in_front_of_the_first_block_only(tiny_clip, classes):
    method = create_method("vpt", tiny_clip, classes, n_ctx=5, depth=1)
    assert {name: value.shape for name, value in method.learnt_state().items()} == {"vision_prompts.0": (5, 64)}


def test_a_tower_with_fewer_blocks_gets_prompts_in_all_of_them(tiny_clip, classes):
    assert len(create_method("vpt", tiny_clip, classes, depth=12).vision_prompts) == tiny_clip.vision_depth


def test_texts_are_not_encoded_while_it_learns(tiny_clip, classes, batch, monkeypatch):
    method = create_method("vpt", tiny_clip, classes)
    monkeypatch.setattr(type(tiny_clip), "encode_text", None)
    method.backward(*batch)
    assert all(prompt.grad.abs().sum() > 0 for prompt in method.vision_prompts)


def test_the_texts_are_zero_shot_s_and_the_images_are_not(tiny_clip, classes, batch):
    method = create_method("vpt", tiny_clip, classes)
    zero_shot = create_method("zero_shot", tiny_clip, classes)
    assert torch.equal(method.class_weights(), zero_shot.class_weights())
    assert not torch.allclose(method(batch[0]), zero_shot(batch[0]), atol=1e-3)


def test_the_data_set_s_templates_are_read_only_when_asked_for(tiny_clip, classes):
    templates = ["{} texture.", "a drawing of a {}."]
    zero_shot = create_method("zero_shot", tiny_clip, classes, templates=templates)
    own = create_method("vpt", tiny_clip, classes, templates=templates, fixed_templates=())
    plain = create_method("vpt", tiny_clip, classes, templates=templates)
    torch.testing.assert_close(own.class_weights(), zero_shot.class_weights())
    assert not torch.allclose(plain.class_weights(), zero_shot.class_weights(), atol=1e-3)


def test_other_classes_keep_the_prompts(tiny_clip, classes, batch):
    method = create_method("vpt", tiny_clip, classes)
    learnt = method.learnt_state()
    method.set_classes(["cat", "dog"])
    assert method(batch[0]).shape == (6, 2)
    assert all(torch.equal(value, learnt[name]) for name, value in method.learnt_state().items())


def test_an_image_tower_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"vpt needs .* ModifiedResNet.*; use a ViT"):
        create_method("vpt", build("modified_resnet"), ["cat", "dog"])


@pytest.mark.parametrize("option", ["n_ctx", "depth"])
def test_options_that_leave_nothing_to_learn_are_refused(option, tiny_clip, classes):
    with pytest.raises(ValueError, match=f"{option}=0"):
        create_method("vpt", tiny_clip, classes, **{option: 0})

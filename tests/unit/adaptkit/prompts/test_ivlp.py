"""IVLP: prompts of both towers, independent of each other; and its kin, MaPLe and deep language prompting."""

import pytest
import torch

from adaptkit import create_method
from tests.helpers.models import build


def test_shallow_language_prompts_from_words_are_zero_shot(tiny_clip, classes, batch):
    method = create_method("ivlp", tiny_clip, classes, n_ctx_text=4, depth_text=1, depth_vision=0)
    zero_shot = create_method("zero_shot", tiny_clip, classes, templates=["a photo of a {}."])
    torch.testing.assert_close(method(batch[0]), zero_shot(batch[0]), rtol=0, atol=1e-4)


def test_with_maple_s_couplings_in_place_of_its_vision_prompts_it_is_maple(tiny_clip, classes, batch):
    maple = create_method("maple", tiny_clip, classes, depth=3)
    method = create_method("ivlp", tiny_clip, classes, depth_text=3, depth_vision=3)
    coupled = {f"vision_prompts.{layer}": prompt.detach() for layer, prompt in maple.vision_prompts().items()}
    text = {name: value for name, value in maple.learnt_state().items() if not name.startswith("couplings")}
    method.load_learnt_state(text | coupled)
    torch.testing.assert_close(method(batch[0]), maple(batch[0]), rtol=0, atol=1e-4)


def test_the_towers_learn_independently(tiny_clip, classes, batch):
    method = create_method("ivlp", tiny_clip, classes)
    method.backward(*batch)
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.learnt_parameters().values())
    weights = method.class_weights()
    with torch.no_grad():
        method.vision_prompts[0].add_(1)
    assert torch.equal(method.class_weights(), weights)


@pytest.mark.parametrize("off", [{"n_ctx_vision": 0}, {"depth_vision": 0}], ids=str)
def test_language_prompts_alone_need_no_vision_transformer(off):
    backbone = build("modified_resnet")
    method = create_method("ivlp", backbone, ["cat", "dog"], **off)
    assert method.consumes == "features"
    assert not any(name.startswith("vision") for name in method.learnt_parameters())
    method.backward(torch.randn(2, backbone.embed_dim), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"ivlp needs .* ModifiedResNet"):
        create_method("ivlp", backbone, ["cat", "dog"])


def test_without_words_the_tokens_are_random_and_leave_no_word(tiny_clip, classes):
    method = create_method("ivlp", tiny_clip, classes, n_ctx_text=6, ctx_init="")
    assert method.context.words == ""
    assert method.context.ctx.abs().max() < 0.2


def test_other_classes_keep_what_is_learnt(tiny_clip, classes, batch):
    method = create_method("ivlp", tiny_clip, classes)
    learnt = method.learnt_state()
    method.set_classes(["cat", "dog"])
    assert method(batch[0]).shape == (6, 2)
    assert all(torch.equal(value, learnt[name]) for name, value in method.learnt_state().items())


@pytest.mark.parametrize("option", [{"n_ctx_text": 0}, {"depth_text": 0}, {"n_ctx_vision": -1}], ids=str)
def test_counts_that_cannot_be_are_refused(option, tiny_clip, classes):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        create_method("ivlp", tiny_clip, classes, **option)

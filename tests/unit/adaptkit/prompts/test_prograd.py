"""ProGrad's gradient surgery, and what its context starts from."""

import pytest
import torch

from adaptkit import create_method
from adaptkit.prompts.prograd import align
from adaptkit.towers.tree_encoder import TreeEncoder


def test_opposing_gradients_leave_nothing_against_the_general_one():
    domain, general = torch.tensor([1.0, -2.0]), torch.tensor([0.0, 3.0])
    torch.testing.assert_close(align(domain, general, 1.0), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(align(domain, general, 0.5), torch.tensor([1.0, -1.0]))


def test_agreeing_and_vanishing_general_gradients_change_nothing():
    domain = torch.tensor([1.0, 2.0])
    assert torch.equal(align(domain, torch.tensor([0.0, 3.0]), 1.0), domain)
    assert torch.equal(align(domain, torch.zeros(2), 1.0), domain)


def test_a_teacher_with_the_same_logits_has_no_gradient(tiny_clip, classes, batch):
    method = create_method("prograd", tiny_clip, classes, words_init=False)
    features, labels = tiny_clip.encode_image(batch[0]), batch[1]
    method.kept.value = method.class_weights().detach()
    _, domain, general = method.gradients(features, labels)
    assert general["context.ctx"].norm() < 1e-5 * domain["context.ctx"].norm()


def test_without_strength_the_gradient_is_coop_s(tiny_clip, classes, batch):
    features, labels = tiny_clip.encode_image(batch[0]), batch[1]
    method = create_method("prograd", tiny_clip, classes, strength=0.0)
    coop = create_method("coop", tiny_clip, classes)
    coop.load_learnt_state(method.learnt_state())
    coop.backward(features, labels)
    method.backward(features, labels)
    torch.testing.assert_close(method.context.ctx.grad, coop.context.ctx.grad)
    method.backward(features, labels)
    torch.testing.assert_close(method.context.ctx.grad, 2 * coop.context.ctx.grad)  # gradients add up


def test_both_gradients_share_one_pass_through_the_text_tower(tiny_clip, classes, batch, monkeypatch):
    method = create_method("prograd", tiny_clip, classes)
    features, passes, forward = tiny_clip.encode_image(batch[0]), [], TreeEncoder.forward
    monkeypatch.setattr(TreeEncoder, "forward", lambda *args, **options: passes.append(1) or forward(*args, **options))
    method.backward(features, batch[1])
    assert len(passes) == 1


def test_words_stand_last_behind_zeros(tiny_clip, classes):
    ctx = create_method("prograd", tiny_clip, classes, n_ctx=6, template="a photo of a {}.").context.ctx
    assert not ctx[:2].any()
    words = tiny_clip.embed_tokens(torch.tensor(tiny_clip.tokenizer.words("a photo of a")))
    assert torch.equal(ctx[2:], words)


def test_a_comma_pushes_the_last_word_out_of_the_learnt_tokens(tiny_clip, classes):
    template = "a type of pet, a photo of a {}."  # 8 words, 9 tokens
    method = create_method("prograd", tiny_clip, classes, n_ctx=8, template=template)
    assert method.context.words == tiny_clip.tokenizer.words("a")
    whole = tiny_clip.encode_text([template.format(name) for name in method.classes.readable])
    torch.testing.assert_close(method.context(), whole)


def test_words_behind_the_name_serve_the_teacher_only(tiny_clip, classes):
    method = create_method("prograd", tiny_clip, classes, n_ctx=4, templates=["a photo of a {}, a type of pet."])
    student = tiny_clip.encode_text([f"a photo of a {name}." for name in method.classes.readable])
    teacher = tiny_clip.encode_text([f"a photo of a {name}, a type of pet." for name in method.classes.readable])
    torch.testing.assert_close(method.context(), student)
    torch.testing.assert_close(method.zero_shot_weights, teacher / teacher.norm(dim=-1, keepdim=True))


def test_a_template_without_words_in_front_starts_from_random_tokens(tiny_clip, classes):
    ctx = create_method("prograd", tiny_clip, classes, template="{} texture.").context.ctx
    assert (ctx != 0).all()
    assert ctx.abs().max() < 0.2


def test_a_word_of_many_tokens_is_cut_where_the_learnt_tokens_end(tiny_clip, classes):
    template = "a promptlearningphoto {}."
    method = create_method("prograd", tiny_clip, classes, n_ctx=2, template=template)
    assert len(method.context.words) > 1
    whole = tiny_clip.encode_text([template.format(name) for name in method.classes.readable])
    torch.testing.assert_close(method.context(), whole)


def test_templates_of_too_many_words_are_refused(tiny_clip, classes):
    with pytest.raises(ValueError, match=r"4 words and n_ctx=3"):
        create_method("prograd", tiny_clip, classes, n_ctx=3, template="a photo of a {}.")


def test_class_specific_contexts_are_projected_as_one_and_stay_with_their_classes(tiny_clip, classes, batch):
    method = create_method("prograd", tiny_clip, classes, words_init=False, class_specific=True, strength=1.0)
    method.backward(tiny_clip.encode_image(batch[0]), batch[1])
    _, _, general = method.gradients(tiny_clip.encode_image(batch[0]), batch[1])
    assert (method.context.ctx.grad * general["context.ctx"]).sum() > -1e-3
    assert method.context.ctx.shape == (5, 16, tiny_clip.text_width)
    with pytest.raises(TypeError, match="class_specific=False"):
        method.set_classes(["cat"])


def test_other_classes_get_a_teacher_of_their_own(tiny_clip, classes):
    method = create_method("prograd", tiny_clip, classes)
    method.set_classes(["cat", "dog"])
    fresh = create_method("prograd", tiny_clip, ["cat", "dog"])
    torch.testing.assert_close(method.zero_shot_weights, fresh.zero_shot_weights)
    torch.testing.assert_close(method.class_weights(), fresh.class_weights())

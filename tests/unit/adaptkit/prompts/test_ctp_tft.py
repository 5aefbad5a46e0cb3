"""CTP + TFT: where it starts, that classes ask for themselves, and what a set of classes does to an image."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_method
from tests.conftest import CLASSES
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train

MODES = ("prompt", "feature")


def made(backbone, classes=CLASSES, *, opened=False, **options):
    """A method, with output layers that are not zero where it is opened."""
    torch.manual_seed(0)
    method = create_method("ctp_tft", backbone, classes, **options)
    if opened:
        with torch.no_grad():
            for name, parameter in method.named_parameters():
                if name.endswith(("out.weight", "pool.weight")):
                    parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return method


@pytest.fixture
def rows(tiny_clip, batch):
    return tiny_clip.encode_tokens(batch[0])


def patches_of(backbone, rows):
    return F.normalize(backbone.project_tokens(rows), dim=-1)[:, 1:]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tft", ["classes", "pool"])
def test_it_starts_as_the_hand_written_prompt(mode, tft, tiny_clip, batch):
    method = made(tiny_clip, mode=mode, tft=tft)
    zero_shot = create_method("zero_shot", tiny_clip, CLASSES, templates=["a photo of a {}."])
    torch.testing.assert_close(method(batch[0]), zero_shot(batch[0]), rtol=0, atol=1e-4)


def test_both_modes_agree_where_nothing_is_shifted_yet(tiny_clip, rows):
    prompt, feature = made(tiny_clip, mode="prompt"), made(tiny_clip, mode="feature")
    torch.testing.assert_close(prompt.logits(rows), feature.logits(rows), rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_every_class_has_a_shift_of_its_own_unless_their_mean_asks(mode, tiny_clip, rows):
    patches = patches_of(tiny_clip, rows)
    own = made(tiny_clip, mode=mode, opened=True).shifts(patches)
    assert own.shape == (6, 5, tiny_clip.text_width if mode == "prompt" else tiny_clip.embed_dim)
    assert (own[:, :1] - own[:, 1:]).abs().amax(dim=(0, 2)).min() > 1e-4
    same = made(tiny_clip, mode=mode, opened=True, query="mean").shifts(patches)
    assert torch.equal(same, same[:, :1].expand_as(same))  # as in CoCoOp
    assert not torch.allclose(same[0], same[1], atol=1e-4)  # but each image has its own


@pytest.mark.parametrize("mode", MODES)
def test_the_shift_is_plain_multi_head_attention_over_the_patches(mode, tiny_clip, rows):
    method = made(tiny_clip, mode=mode, opened=True)
    patches, ctp = patches_of(tiny_clip, rows), method.ctp
    q, k, v = ctp.query(method.clip_weights), ctp.key(patches), ctp.value(patches)
    width = q.shape[-1] // ctp.heads
    parts = []
    for head in range(ctp.heads):
        here = slice(head * width, (head + 1) * width)
        scores = torch.einsum("ca,bpa->bcp", q[:, here], k[..., here]) / width**0.5
        parts.append(scores.softmax(dim=-1) @ v[..., here])
    torch.testing.assert_close(method.shifts(patches), ctp.out(torch.cat(parts, dim=-1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tft", ["classes", "pool", "none"])
@pytest.mark.parametrize("keys", ["static", "prompts"])
def test_classes_in_another_order_have_their_logits_in_that_order(mode, tft, keys, tiny_clip, rows):
    method = made(tiny_clip, mode=mode, tft=tft, keys=keys, opened=True)
    logits, order = method.logits(rows), [3, 0, 4, 1, 2]
    method.set_classes([CLASSES[label] for label in order])
    torch.testing.assert_close(method.logits(rows), logits[:, order], rtol=1e-4, atol=1e-3)


def test_one_more_class_changes_the_others_scores_through_the_image_feature_alone(tiny_clip, rows):
    tuned, plain = (made(tiny_clip, tft=tft, opened=True) for tft in ("classes", "none"))
    before = [method.logits(rows) for method in (tuned, plain)]
    for method in (tuned, plain):
        method.set_classes([*CLASSES, "violin"])
    after = [method.logits(rows)[:, : len(CLASSES)] for method in (tuned, plain)]
    assert not torch.allclose(after[0], before[0], atol=1e-2)
    torch.testing.assert_close(after[1], before[1], rtol=1e-4, atol=1e-3)


def test_a_batch_equals_its_images_one_by_one_and_parts_of_it(tiny_clip, rows):
    for mode in MODES:
        method = made(tiny_clip, mode=mode, opened=True)
        with torch.no_grad():
            alone = torch.cat([method.logits(row[None]) for row in rows])
            torch.testing.assert_close(method.logits(rows), alone, rtol=1e-4, atol=1e-3)
            parted = made(tiny_clip, mode=mode, opened=True, most_prompts=11)
            torch.testing.assert_close(parted.logits(rows), alone, rtol=1e-4, atol=1e-3)
        assert method.logits(rows[:0]).shape == (0, 5)


def test_a_step_with_too_many_prompts_is_refused_and_the_other_mode_is_named(tiny_clip, rows, batch):
    method = made(tiny_clip, most_prompts=11)
    message = r"mode='prompt' encodes 30 prompts in this step, 6 images times 5 classes, .*set mode to feature"
    with pytest.raises(ValueError, match=message):
        method.loss(rows, batch[1])
    made(tiny_clip, mode="feature", most_prompts=11).loss(rows, batch[1])


def test_keeping_the_image_features_costs_what_they_have_moved(tiny_clip, rows, batch):
    plain, kept = made(tiny_clip, opened=True), made(tiny_clip, opened=True, keep=2.0)
    features = F.normalize(tiny_clip.project_tokens(rows), dim=-1)
    text_features = kept.text_features(features[:, 1:])
    tuned = kept.tuned_features(features[:, 0], features[:, 1:], text_features)
    gap = 2 * (1 - (tuned * features[:, 0]).sum(dim=-1).mean())
    torch.testing.assert_close(kept.loss(rows, batch[1]) - plain.loss(rows, batch[1]), gap, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(kept.regularizer(rows, batch[1]), gap)
    assert plain.regularizer(rows, batch[1]) is None


def test_no_gradient_passes_through_the_prompts_as_keys(tiny_clip, rows, batch):
    method = made(tiny_clip, keys="prompts", opened=True)
    features = F.normalize(tiny_clip.project_tokens(rows), dim=-1)
    tuned = method.tuned_features(features[:, 0], features[:, 1:], method.text_features(features[:, 1:]))
    assert torch.autograd.grad(tuned.sum(), method.context.ctx, allow_unused=True) == (None,)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("query", "tft"), [("class", "classes"), ("none", "classes"), ("class", "none"), ("none", "none")]
)
def test_each_direction_can_be_left_out_and_what_is_left_learns(mode, query, tft, tiny_clip, rows, batch):
    method = made(tiny_clip, mode=mode, query=query, tft=tft)
    before, first = method.learnt_state(), method.loss(rows, batch[1])
    assert any(name.startswith("ctp.") for name in before) == (query != "none")
    assert any(name.startswith("tft.") for name in before) == (tft != "none")
    train(method, [(rows, batch[1])], OptimConfig(epochs=8, lr=0.01, warmup_epochs=0))
    assert method.loss(rows, batch[1]) < first
    assert all(not torch.equal(tensor, before[name]) for name, tensor in method.learnt_state().items())


def test_class_texts_are_encoded_once_where_images_do_not_change_them(tiny_clip, rows, monkeypatch):
    method, calls = made(tiny_clip, mode="feature", opened=True), []
    forward = type(method.context).forward
    monkeypatch.setattr(type(method.context), "forward", lambda self, *rest: (calls.append(1), forward(self, *rest))[1])
    expected = method.logits(rows)
    with torch.no_grad(), method.encode_classes_once(), method.encode_classes_once():
        for row in rows:
            method.logits(row[None])
        torch.testing.assert_close(method.logits(rows), expected)
    assert len(calls) == 2
    method.logits(rows)
    assert len(calls) == 3


def test_options_that_do_not_fit_are_refused(tiny_clip):
    with pytest.raises(ValueError, match="makes the attentions 8 wide at D=32, which heads=3 do not divide"):
        made(tiny_clip, heads=3)
    with pytest.raises(TypeError, match="leaves the class-aware prompts out"):
        made(tiny_clip, query="none").shifts(torch.zeros(1, 2, tiny_clip.embed_dim))

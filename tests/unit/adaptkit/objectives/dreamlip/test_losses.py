"""Sub-captions and patch groups: what belongs to whom, and what is left out."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.objectives.dreamlip import (
    circle_loss,
    grouping_loss,
    losses,
    patch_groups,
    patch_weights,
    sentence_scores,
    sub_caption_losses,
)


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double(), dim=-1)


@pytest.fixture
def rows():
    """Images (4, 8), texts (4, 3, 8) and patches (4, 5, 8)."""
    return unit(4, 8), unit(4, 3, 8, seed=1), unit(4, 5, 8, seed=2)


def clips_loss(images, texts, scale):
    own, logits = torch.arange(len(images)), scale * images @ texts.T
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def test_without_sub_captions_it_is_clips_loss(rows):
    images, texts, _ = rows
    clip, sub = sub_caption_losses(images, texts[:, :1], 10.0)
    torch.testing.assert_close(clip, clips_loss(images, texts[:, 0], 10.0))
    assert float(sub) == 0


def test_equal_sub_captions_weigh_as_the_caption_does(rows):
    images, texts, _ = rows
    clip, sub = sub_caption_losses(images, texts[:, :1].expand(-1, 4, -1), 10.0)
    torch.testing.assert_close(sub, 3 * clip)


def test_pairs_of_a_group_and_missing_texts_take_no_part(rows):
    images, texts, patches = rows
    texts = texts.clone()
    texts[1, 2] = 0
    whole = sub_caption_losses(images, texts, 10.0)[1]
    expected = (clips_loss(images, texts[:, 1], 10.0) + clips_loss_of_three(images, texts[:, 2])) / 3
    torch.testing.assert_close(whole, expected)
    assert torch.isfinite(grouping_loss(texts, patches, 10.0))
    together = torch.zeros(4, dtype=torch.int64)
    assert float(sub_caption_losses(images, texts, 10.0, together)[0]) == 0
    assert float(grouping_loss(texts, patches, 10.0, together, same_image="ignore")) == 0


def clips_loss_of_three(images, texts):
    """CLIP's loss of images 0, 2 and 3; image 1 has no text."""
    keep = torch.tensor([0, 2, 3])
    return clips_loss(images[keep], texts[keep], 10.0)


def test_a_text_gathers_patches_of_its_own_image_alone(rows):
    _, texts, patches = rows
    moved = patches.clone()
    moved[2] = unit(5, 8, seed=7)
    same = [0, 1, 3]
    assert torch.equal(patch_groups(texts, moved)[same], patch_groups(texts, patches)[same])
    assert not torch.allclose(patch_groups(texts, moved)[2], patch_groups(texts, patches)[2])


def test_the_released_order_mixes_images_up_unless_there_is_one_text(rows):
    _, texts, patches = rows
    mixed = texts.transpose(0, 1).reshape(4, 3, -1)
    assert torch.equal(mixed[0], texts[:3, 0])
    released = grouping_loss(texts, patches, 10.0, code_order=True)
    torch.testing.assert_close(released, grouping_loss(mixed, patches, 10.0))
    assert not torch.allclose(released, grouping_loss(texts, patches, 10.0))
    one = texts[:, :1]
    assert torch.equal(grouping_loss(one, patches, 10.0, code_order=True), grouping_loss(one, patches, 10.0))


def test_a_high_threshold_keeps_the_best_patch(rows):
    _, texts, patches = rows
    weights = patch_weights(texts, patches, delta=1 - 1e-6)
    best = (texts @ patches.transpose(1, 2)).argmax(dim=-1)
    assert torch.equal(weights, F.one_hot(best, 5).double())
    gathered = patch_groups(texts, patches, delta=1 - 1e-6)
    torch.testing.assert_close(gathered, torch.gather(patches, 1, best[..., None].expand(-1, -1, 8)))


def test_a_group_lies_in_the_span_of_its_patches(rows):
    _, texts, patches = rows
    weights = patch_weights(texts, patches, delta=0.5)
    for image, text in ((0, 1), (3, 2)):
        kept = patches[image][weights[image, text] > 0]
        gathered = patch_groups(texts, patches, delta=0.5)[image, text]
        rest = gathered - kept.T @ torch.linalg.lstsq(kept.T, gathered[:, None]).solution[:, 0]
        assert rest.abs().max() < 1e-9


def test_texts_of_one_image_alone_are_told_apart_or_left_out(rows):
    _, texts, patches = rows
    alone = texts[:1], patches[:1]
    assert float(grouping_loss(*alone, 10.0)) > 0
    assert float(grouping_loss(*alone, 10.0, same_image="ignore")) == 0


def test_blocks_of_rows_change_nothing(rows, monkeypatch):
    images, texts, patches = (tensor.clone().requires_grad_() for tensor in rows)
    found = []
    for block in (100, 3):
        monkeypatch.setattr(losses, "BLOCK", block)
        loss = grouping_loss(texts, patches, 10.0) + sum(sub_caption_losses(images, texts, 10.0))
        found.append((loss.detach(), *torch.autograd.grad(loss, (images, texts, patches))))
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole)


def test_the_circle_loss_is_its_formula(rows):
    images, texts, _ = rows
    expected = 0.0
    for image in range(4):
        near = far = 0.0
        for text in range(4):
            for k in range(3):
                s = float(images[image] @ texts[text, k])
                if text == image:
                    near += torch.tensor(-32 * max(1.25 - s, 0) * (s - 0.75)).exp()
                else:
                    far += torch.tensor(32 * max(s + 0.25, 0) * (s - 0.25)).exp()
        expected += float(F.softplus((near * far).log())) / 40
    assert float(circle_loss(images, texts)) == pytest.approx(expected, rel=1e-5)


def test_sentences_add_their_groups_to_the_score(rows):
    images, texts, patches = rows
    scores = sentence_scores(images, patches, texts[0, 0], texts[0, 1:], beta=0.5)
    gathered = patch_groups(texts[:1, 1:].expand(4, -1, -1), patches)
    expected = images @ texts[0, 0] + 0.5 * (gathered * texts[0, 1:]).sum(-1).mean(-1)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(sentence_scores(images, patches, texts[0, 0], texts[0, 1:], 0.0), images @ texts[0, 0])

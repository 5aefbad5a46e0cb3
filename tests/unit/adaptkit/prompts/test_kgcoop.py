"""KgCoOp's guidance: what it measures, how much it weighs, and which template it is measured from."""

import pytest
import torch

from adaptkit import create_method


def test_without_guidance_the_loss_is_coop_s(tiny_clip, classes, batch):
    features, labels = tiny_clip.encode_image(batch[0]), batch[1]
    method = create_method("kgcoop", tiny_clip, classes, guidance=0.0)
    coop = create_method("coop", tiny_clip, classes, ctx_init="a photo of a")
    torch.testing.assert_close(method.loss(features, labels), coop.loss(features, labels))


def test_the_gap_starts_at_zero_where_words_and_template_agree(tiny_clip, classes):
    method = create_method("kgcoop", tiny_clip, classes, templates=["a photo of a {}."])
    assert abs(method.knowledge_gap(method.class_weights()).item()) < 1e-6
    method = create_method("kgcoop", tiny_clip, classes, templates=["a painting of the {}."])
    assert 1e-3 < method.knowledge_gap(method.class_weights()).item() < 2


def test_the_paper_s_distance_is_the_mean_squared_one(tiny_clip, classes):
    method = create_method("kgcoop", tiny_clip, classes, ctx_init="", distance="squared")
    weights = method.class_weights()
    squared = ((weights - method.clip_weights) ** 2).sum(dim=-1).mean()
    torch.testing.assert_close(method.knowledge_gap(weights), squared, rtol=1e-5, atol=1e-6)


def test_guidance_alone_closes_the_gap_step_by_step(tiny_clip, classes):
    method = create_method("kgcoop", tiny_clip, classes, ctx_init="")
    optimizer = torch.optim.SGD(method.learnt_parameters().values(), lr=0.05)
    gaps = []
    for _ in range(8):
        gap = method.knowledge_gap(method.class_weights())
        optimizer.zero_grad()
        gap.backward()
        optimizer.step()
        gaps.append(gap.item())
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < gaps[0]


def test_own_templates_come_before_the_data_set_s(tiny_clip, classes):
    own = create_method("kgcoop", tiny_clip, classes, templates=["{} texture."], clip_templates=("a {}.",))
    plain = create_method("kgcoop", tiny_clip, classes, templates=["a {}."])
    torch.testing.assert_close(own.clip_weights, plain.clip_weights)


def test_other_classes_are_guided_by_their_own_template_features(tiny_clip, classes):
    method = create_method("kgcoop", tiny_clip, classes)
    method.set_classes(["cat", "dog"])
    fresh = create_method("kgcoop", tiny_clip, ["cat", "dog"])
    torch.testing.assert_close(method.clip_weights, fresh.clip_weights)
    torch.testing.assert_close(method.class_weights(), fresh.class_weights())


def test_an_unknown_distance_is_refused(tiny_clip, classes):
    with pytest.raises(ValueError, match=r"'manhattan'.*squared"):
        create_method("kgcoop", tiny_clip, classes, distance="manhattan")

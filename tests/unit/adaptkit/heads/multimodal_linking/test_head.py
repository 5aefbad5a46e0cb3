"""The head: where it starts, what it makes of records that lack something, and what is saved of it."""

import pytest
import torch

from adaptkit import ArtefactError, create_head, load_head
from adaptkit.heads.multimodal_linking import RecordFeatures, pooled, records_of
from tests.helpers.models import build


def records(width: int, count: int = 6) -> RecordFeatures:
    return records_of(torch.randn(count, width), torch.randn(count, width))


@pytest.mark.parametrize("mixing", ["scalar", "gate", "fixed"])
def test_it_starts_as_pooling_with_the_given_weight(mixing, tiny_clip):
    head = create_head("multimodal_linking", tiny_clip, weight=0.3, mixing=mixing, projection=True)
    given = records(tiny_clip.embed_dim)
    torch.testing.assert_close(head.vectors(given), pooled(given, 0.3))


def test_fixed_ends_are_single_modalities(tiny_clip):
    given = records(tiny_clip.embed_dim)
    for weight, alone in ((1.0, given.image), (0.0, given.text)):
        head = create_head("multimodal_linking", tiny_clip, weight=weight, mixing="fixed")
        torch.testing.assert_close(head.vectors(given), torch.nn.functional.normalize(alone, dim=1))


def test_vectors_stay_of_unit_length_after_learning(tiny_clip):
    head = create_head("multimodal_linking", tiny_clip, mixing="gate", projection=True)
    with torch.no_grad():
        for parameter in head.learnt_parameters().values():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        vectors = head.vectors(records(tiny_clip.embed_dim))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))


def test_a_record_that_lacks_its_text_is_as_an_image_alone(tiny_clip):
    head, given = create_head("multimodal_linking", tiny_clip, mixing="gate"), records(tiny_clip.embed_dim)
    has = torch.ones(6, dtype=torch.bool)
    lacking = RecordFeatures(given.image, torch.full_like(given.text, torch.nan), has, ~has)
    torch.testing.assert_close(head.vectors(lacking), head.outputs(given.image))


def test_modalities_are_dropped_in_training_alone_and_never_both(tiny_clip):
    head, given = create_head("multimodal_linking", tiny_clip, modality_dropout=1.0), records(tiny_clip.embed_dim, 64)
    dropped = head.with_dropout(given)
    assert (dropped.has_image ^ dropped.has_text).all()
    assert dropped.has_image.any()
    assert dropped.has_text.any()
    groups = torch.arange(32).repeat(2)
    with torch.no_grad():
        assert head.eval().records_loss(given, groups) == head.records_loss(given, groups)
        assert head.train().records_loss(given, groups) != head.records_loss(given, groups)


@pytest.mark.parametrize("objective", ["supcon", "contrastive"])
@pytest.mark.parametrize("mixing", ["scalar", "gate"])
def test_every_parameter_learns(objective, mixing, tiny_clip):
    head = create_head("multimodal_linking", tiny_clip, objective=objective, mixing=mixing, projection=True)
    with torch.no_grad():
        for parameter in head.learnt_parameters().values():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    head.records_loss(records(tiny_clip.embed_dim), torch.arange(3).repeat(2)).backward()
    assert all(parameter.grad is not None for parameter in head.learnt_parameters().values())


def test_threshold_matcher_and_weights_are_saved(tiny_clip, tmp_path):
    head = create_head("multimodal_linking", tiny_clip, tokens=True, token_width=8, two_way=True)
    assert head.threshold is None
    head.set_threshold(0.25)
    head.rerank_weight.fill_(0.5)
    head.save_pretrained(tmp_path / "head")
    loaded = load_head(tmp_path / "head", tiny_clip)
    assert loaded.threshold == 0.25
    assert float(loaded.rerank_weight) == 0.5
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), loaded.parameters(), strict=True))
    with pytest.raises(ValueError, match="threshold=3"):
        head.set_threshold(3)


def test_another_backbone_is_refused(tiny_clip, tmp_path):
    create_head("multimodal_linking", tiny_clip).save_pretrained(tmp_path / "head")
    with pytest.raises(ArtefactError):
        load_head(tmp_path / "head", build("timm_tower"))


def test_tokens_are_those_of_the_frozen_towers(tiny_clip):
    head = create_head("multimodal_linking", tiny_clip, tokens=True)
    images, there = torch.randn(2, 3, 32, 32), torch.tensor([True, True])
    found = head.tokens_of(images, ["a cat", "a dog on a mat"], there, there)
    torch.testing.assert_close(found.image_cls, tiny_clip.encode_image(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.text_cls, tiny_clip.encode_text(["a cat", "a dog on a mat"]))
    assert found.text_mask.sum(dim=1).tolist()[0] < found.text_mask.sum(dim=1).tolist()[1]

"""Pooling: single modalities at the ends of the weight, unit length, and records that lack something."""

import pytest
import torch

from adaptkit.heads.multimodal_linking import RecordFeatures, pooled, records_of
from adaptkit.heads.multimodal_linking.pooling import unit


def test_a_weight_of_one_is_the_image_alone_and_of_zero_the_text_alone():
    image, text = torch.randn(5, 8), torch.randn(5, 8)
    records = records_of(image, text)
    torch.testing.assert_close(pooled(records, 1.0), unit(image))
    torch.testing.assert_close(pooled(records, 0.0), unit(text))


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_vectors_are_of_unit_length_whatever_the_features_are(weight):
    vectors = pooled(records_of(100 * torch.randn(6, 8), 0.01 * torch.randn(6, 8)), weight)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))


def test_what_a_record_lacks_is_never_looked_at():
    image, text = torch.randn(3, 8), torch.randn(3, 8)
    image[0], text[1] = torch.nan, torch.nan
    records = RecordFeatures(image, text, torch.tensor([False, True, True]), torch.tensor([True, False, True]))
    vectors = pooled(records, 0.5)
    torch.testing.assert_close(vectors[0], unit(text[0]))
    torch.testing.assert_close(vectors[1], unit(image[1]))
    assert vectors.isfinite().all()


def test_every_record_may_have_a_weight_of_its_own():
    image, text = torch.randn(2, 8), torch.randn(2, 8)
    vectors = pooled(records_of(image, text), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(vectors, torch.stack([unit(image[0]), unit(text[1])]))


def test_what_is_no_record_is_refused():
    with pytest.raises(ValueError, match="neither image features nor text features"):
        records_of(None, None)
    with pytest.raises(ValueError, match=r"\(2, 8\) and text features \(3, 8\)"):
        records_of(torch.randn(2, 8), torch.randn(3, 8))
    nothing = torch.tensor([True, False])
    with pytest.raises(ValueError, match="record 1 has neither image nor text"):
        RecordFeatures(torch.randn(2, 8), torch.randn(2, 8), nothing, nothing)

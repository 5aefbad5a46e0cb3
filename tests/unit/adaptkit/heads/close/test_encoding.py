"""Records with several texts, and soft tokens."""

import pytest
import torch

from adaptkit.heads.close.adapters import unit
from adaptkit.heads.close.encoding import SoftTokens, record_features


def test_texts_of_a_record_are_averaged_before_they_are_normalised():
    features = torch.tensor([[4.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    found = record_features(features, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(found, unit(torch.tensor([[2.0, 1.0], [0.0, 1.0]])))


@pytest.mark.parametrize(
    ("records", "message"), [([0, 2, 2], "record 1 has no text"), ([0, 1], r"3 texts have records of shape \(2,\)")]
)
def test_records_that_do_not_belong_to_the_texts_are_refused(records, message):
    with pytest.raises(ValueError, match=message):
        record_features(torch.randn(3, 4), torch.tensor(records))


def test_constant_tokens_come_first_and_are_the_same_for_every_vector():
    tokens = SoftTokens(8, 6, count=4, constant=2)
    found = tokens(torch.randn(3, 8))
    assert found.shape == (3, 6, 6)
    assert torch.equal(found[0, :2], found[2, :2])
    assert not torch.equal(found[0, 2:], found[2, 2:])
    assert SoftTokens(8, 6)(torch.randn(3, 8)).shape == (3, 4, 6)

"""CLIP-blind pairs are those that comparing every image with every other one finds."""

import pytest
import torch
import torch.nn.functional as F

from trainers.evaluation.pair_tests.blind_pairs import blind_pairs


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(200, 3, generator=generator), torch.randn(200, 5, generator=generator)


def by_brute_force(clip, other, hi, lo, neighbours):
    near, there = F.normalize(clip, dim=-1), F.normalize(other, dim=-1)
    near, there = near @ near.T, there @ there.T
    ranked = (near - 2 * torch.eye(len(near))).argsort(dim=1, descending=True)[:, :neighbours]
    close = {(min(i, j), max(i, j)) for i, row in enumerate(ranked.tolist()) for j in row}
    found = [(float(near[i, j] - there[i, j]), i, j) for i, j in close if near[i, j] > hi and there[i, j] < lo]
    return [(i, j) for _, i, j in sorted(found, reverse=True)]


@pytest.mark.parametrize(("neighbours", "chunk"), [(199, 1024), (20, 64), (3, 7)])
def test_pairs_equal_brute_force(features, neighbours, chunk):
    expected = by_brute_force(*features, 0.9, 0.6, neighbours)
    assert len(expected) > 50
    found = blind_pairs(*features, 10**6, 0.9, 0.6, neighbours=neighbours, chunk=chunk)
    assert [tuple(pair) for pair in found.pairs.tolist()] == expected
    first = blind_pairs(*features, 10, 0.9, 0.6, neighbours=neighbours, chunk=chunk)
    assert torch.equal(first.pairs, found.pairs[:10])
    assert (found.clip > 0.9).all()
    assert (found.other < 0.6).all()


def test_rows_that_do_not_belong_together_are_refused(features):
    with pytest.raises(ValueError, match="200 rows of CLIP's features and 199"):
        blind_pairs(features[0], features[1][1:], 5)
    with pytest.raises(ValueError, match="n=0"):
        blind_pairs(*features, 0)
    with pytest.raises(ValueError, match="finite floats"):
        blind_pairs(features[0] / 0, features[1], 5)


def test_no_pair_is_an_answer(features):
    assert blind_pairs(features[0], features[0], 5).pairs.shape == (0, 2)

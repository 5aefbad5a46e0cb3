import pytest
import torch
import torch.nn.functional as F

from adaptkit.heads.isa import attention_overlap, global_distillation, local_alignment, local_regularisation

DRAWN = torch.Generator().manual_seed(0)
Q, T, BANK = (torch.randn(n, 6, generator=DRAWN) for n in (4, 4, 9))


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("bank", [None, BANK])
def test_global_distillation_is_its_formula(bank):
    tau, known = 0.1, unit(T if bank is None else bank)
    p, r = (torch.softmax(unit(x) @ known.T / tau, dim=-1) for x in (T, Q))
    relations = (p * (p.log() - r.log())).sum(dim=-1).mean()
    logits = unit(Q) @ unit(T).T / tau
    contrast = (F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(logits.T, torch.arange(4))) / 2
    torch.testing.assert_close(global_distillation(Q, T, tau, bank), relations + contrast)


def test_queries_that_are_the_teacher_s_features_leave_the_contrast_alone():
    features = torch.eye(4)
    assert float(global_distillation(2 * features, features, tau=0.01)) == pytest.approx(0, abs=1e-5)


def test_local_alignment_finds_the_nearest_patch_of_every_word():
    patches = torch.eye(4)[None, :3]  # (1, 3, 4)
    projection = torch.eye(4)
    words = torch.tensor([[[5.0, 0, 0, 0], [0, 0, 0, 1.0]]])  # the second is like none
    assert float(local_alignment(words, projection, patches)) == pytest.approx(0.5)


def test_overlap_is_one_for_equal_maps_and_zero_for_apart_ones_or_a_single_one():
    apart = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
    assert float(attention_overlap(apart)) == 0
    assert float(attention_overlap(apart[:, :1].repeat(1, 3, 1))) == pytest.approx(1)
    assert float(attention_overlap(apart[:, :1])) == 0


def test_the_regularisation_adds_a_tenth_of_the_overlap():
    words, projection, patches = torch.randn(2, 3, 5), torch.randn(5, 6), torch.randn(2, 7, 6)
    attention = torch.rand(2, 3, 7)
    expected = local_alignment(words, projection, patches) + 0.1 * attention_overlap(attention)
    torch.testing.assert_close(local_regularisation(words, projection, patches, attention), expected)

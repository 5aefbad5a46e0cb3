"""The report of the gap between texts and images, and the noise that spans it."""

import pytest
import torch

from adaptkit import create_head
from adaptkit.heads.close.adapters import unit
from adaptkit.heads.close.gap import gap_report, matched_sigma, transfer_gap

D = 32


def test_a_planted_gap_is_reported():
    torch.manual_seed(0)
    offset = torch.zeros(D)
    offset[0] = 1.0
    shared = 0.05 * torch.randn(200, D)
    report = gap_report(shared + offset, shared - offset, paired=True)
    assert report.distance == pytest.approx(2, abs=0.1)
    assert report.separability == 100
    assert min(report.image_cosine, report.text_cosine) > 0.9
    assert report.pair_cosine is not None
    assert report.others_cosine is not None
    assert report.others_cosine < report.pair_cosine < -0.8
    assert len(report.lines) == 6


def test_where_there_is_no_gap_none_is_reported():
    torch.manual_seed(0)
    images, texts = torch.randn(400, D), torch.randn(400, D)
    report = gap_report(images, texts)
    assert report.distance < 0.2
    assert 40 < report.separability < 60
    assert report.pair_cosine is None
    assert len(report.lines) == 4


def test_mean_cosines_are_over_different_rows():
    torch.manual_seed(0)
    images, texts = torch.randn(9, D), torch.randn(9, D)
    report = gap_report(images, texts, paired=True)
    cosines = unit(images) @ unit(images).T
    assert report.image_cosine == pytest.approx(float((cosines.sum() - 9) / 72), abs=1e-6)
    crossed = unit(images) @ unit(texts).T
    assert report.pair_cosine == pytest.approx(float(crossed.diagonal().mean()), abs=1e-6)
    assert report.others_cosine == pytest.approx(float((crossed.sum() - crossed.trace()) / 72), abs=1e-6)


def test_the_noise_that_images_were_made_with_is_found():
    torch.manual_seed(0)
    classes = torch.randn(10, D)
    texts = unit(classes.repeat(60, 1))
    images = unit(texts + 0.12 * torch.randn(600, D))
    assert matched_sigma(images, texts, classes, seed=3) == pytest.approx(0.12, abs=0.011)
    assert matched_sigma(texts, texts, classes) == 0


def test_too_few_features_are_refused():
    with pytest.raises(ValueError, match="3 images and 9 texts; a report needs four"):
        gap_report(torch.randn(3, D), torch.randn(9, D))
    with pytest.raises(ValueError, match="are no pairs"):
        gap_report(torch.randn(8, D), torch.randn(9, D), paired=True)
    with pytest.raises(ValueError, match="0 images, 2 texts, 2 class texts"):
        matched_sigma(torch.randn(0, D), torch.randn(2, D), torch.randn(2, D))


def test_the_transfer_gap_is_what_is_lost_from_texts_to_images(tiny_clip):
    head = create_head("close", tiny_clip, classnames=("a", "b"), sigma=1.0).train()
    texts = torch.randn(10, tiny_clip.embed_dim)
    labels = head.eval().text_outputs(texts).argmax(dim=-1)
    gap = transfer_gap(head.train(), texts, labels, texts[:4], 1 - labels[:4])
    assert (gap.texts, gap.images, gap.gap) == (100, 0, 100)
    assert head.training

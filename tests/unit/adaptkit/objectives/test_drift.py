"""How far features moved: rotations turn every sample and keep the angles between samples."""

import math

import pytest
import torch

import adaptkit
from adaptkit.contract.batches import PairBatch
from adaptkit.objectives.modx import drift_of, drift_report, rotation_angles, self_angles


def turned(features, angle):
    """Features (N, 2) turned by an angle."""
    cos, sin = math.cos(angle), math.sin(angle)
    return features @ torch.tensor([[cos, sin], [-sin, cos]])


def test_a_rotation_of_a_modality_is_its_angle_and_reshapes_nothing():
    images, texts = torch.randn(9, 2), torch.randn(9, 2)
    report = drift_of(images, texts, 3 * turned(images, 0.3), turned(texts, -0.1))
    torch.testing.assert_close(report.image_rotation, torch.full((9,), 0.3).double(), rtol=0, atol=1e-6)
    assert report.text_rotation.mean() == pytest.approx(0.1, abs=1e-6)
    assert report.deviation == pytest.approx(0.2, abs=1e-6)
    assert report.image_reshaping == pytest.approx(0, abs=1e-5)


def test_a_sample_that_moves_alone_changes_the_angles_to_all_others():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    after = images.clone()
    after[0] = torch.tensor([0.0, -1.0])  # by a right angle, away from the second sample and nearer the third
    report = drift_of(images, images, after, images)
    assert report.image_rotation.tolist() == pytest.approx([math.pi / 2, 0, 0])
    assert report.image_reshaping == pytest.approx(4 * (math.pi / 2) / 6)
    assert report.deviation == pytest.approx(math.pi / 6)
    histogram, still = report.histogram(bins=6)
    assert histogram.tolist() == [2, 0, 0, 0, 0, 1]
    assert still.tolist() == [3, 0, 0, 0, 0, 0]


def test_small_angles_keep_their_digits():
    a, b = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([[1.0, 1e-9]], dtype=torch.float64)
    assert float(rotation_angles(a, b)) == pytest.approx(1e-9, rel=1e-6)
    assert self_angles(torch.randn(4, 3)).diagonal().tolist() == [0.0] * 4


def test_shapes_that_do_not_belong_together_are_refused():
    rows = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        drift_of(rows, rows, rows, rows[:2])


def test_the_report_of_two_models_is_zero_where_they_are_one(tiny_clip):
    before, after = (adaptkit.create_method("clip_lora", tiny_clip, None) for _ in range(2))
    pairs = PairBatch(torch.randn(3, 3, 32, 32), ["a cat", "a dog", "whales"], torch.arange(3))
    assert drift_report(before, after, pairs).deviation == 0
    for parameter in after.text_updates.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    report = drift_report(before, after.train(), pairs)
    assert after.training
    assert report.image_rotation.max() == 0
    assert report.deviation == pytest.approx(float(report.text_rotation.mean()))
    assert report.text_reshaping > 0

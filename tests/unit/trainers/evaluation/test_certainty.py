"""What a calibration is worth on test images: coverage and sizes by hand, standard errors, the picture."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from adaptkit.calibration.calibration import Calibration, fit_calibration
from adaptkit.classes.class_set import ClassSet
from trainers.evaluation.certainty import KINDS, as_json, as_lines, beta_variance, draw_reliability, judge_certainty

CLASSES = ClassSet(("ant", "bee", "cat"))


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    logits = 6 * np.eye(3)[labels] + 4 * rng.normal(size=(count, 3))
    return logits, labels


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    logits, labels = drawn(200, 0)
    marks = [str(number) for number in range(200)]
    return fit_calibration(torch.from_numpy(logits), torch.from_numpy(labels), CLASSES, "200 drawn images", marks)


def test_error_and_likelihood_fall_and_accuracy_stays(calibration):
    found = judge_certainty(calibration, *drawn(2000, 1), CLASSES)
    assert found.after.ece < found.before.ece
    assert found.after.nll < found.before.nll
    assert found.after.accuracy == found.before.accuracy


def test_coverage_is_within_two_standard_errors_and_sizes_are_those_of_the_sets(calibration):
    logits, labels = drawn(2000, 1)
    found = judge_certainty(calibration, logits, labels, CLASSES, 0.8)
    assert [(one.score, one.coverage_of) for one in found.sets] == list(KINDS)
    for one in found.sets:
        if one.score != "aps":  # its scores are 0 for all images that are right, so it may cover more
            assert abs(one.covered - 0.8) < 2 * one.standard_error
        assert one.covered > 0.8 - 2 * one.standard_error
    lac = found.sets[0]
    probabilities = torch.from_numpy(logits / calibration.temperature).softmax(dim=1)
    scores = sorted(1 - own for own in calibration.own)
    inside = (1 - probabilities <= scores[math.ceil(201 * 0.8) - 1]).numpy()
    assert lac.covered == pytest.approx(inside[np.arange(2000), labels].mean())
    assert lac.mean_size == pytest.approx(inside.sum(axis=1).mean())
    assert lac.size_error == pytest.approx(inside.sum(axis=1).std() / 2000**0.5)
    assert lac.empty == pytest.approx((inside.sum(axis=1) == 0).mean())


@pytest.mark.parametrize(("count", "coverage"), [(9, 0.9), (50, 0.8), (8, 0.9)])
def test_the_variance_over_held_out_images_is_that_of_ranks(count, coverage):
    uniform = torch.rand(20_000, count, generator=torch.Generator().manual_seed(0))
    k = math.ceil((count + 1) * coverage - 1e-9)
    expected = float(uniform.kthvalue(k, dim=1).values.var()) if k <= count else 0.0
    assert beta_variance(count, coverage) == pytest.approx(expected, rel=0.05)


def test_other_classes_are_judged_without_sets(calibration):
    found = judge_certainty(calibration, *drawn(50, 2), None)
    assert found.sets == ()
    assert "fitted for other classes" in found.notes[0]
    assert found.after.ece > 0


def test_images_that_were_calibrated_on_are_noted(calibration):
    found = judge_certainty(calibration, *drawn(3, 3), CLASSES, marks=("7", "8", "other"))
    assert any(note.startswith("2 of these images were calibrated on") for note in found.notes)


def test_lines_say_the_numbers(calibration):
    content = as_json(judge_certainty(calibration, *drawn(400, 1), CLASSES, 0.999))
    lines = as_lines(content)
    assert "(fitted on 200 drawn images)" in lines[0]
    assert "sets for 99.9 % of images, lac: 100.0 % (standard error 0.0) hold the right class, 3.00 classes" in lines[1]
    assert sum("coverage takes 999 or more held-out images, and the calibration has 200" in line for line in lines) == 1


def test_the_picture_is_one(calibration, tmp_path):
    pytest.importorskip("matplotlib")
    assert draw_reliability(judge_certainty(calibration, *drawn(400, 1), CLASSES), tmp_path / "it.png") is None
    Image.open(tmp_path / "it.png").verify()

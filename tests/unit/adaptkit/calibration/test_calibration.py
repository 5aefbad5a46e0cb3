"""A calibration as a file, its warnings, and class names in another order."""

import dataclasses
import json
import math

import pytest
import torch
import torch.nn.functional as F

from adaptkit.calibration.calibration import Calibration, fit_calibration, hash_of_prompts
from adaptkit.calibration.certainty import certainty_of
from adaptkit.calibration.conformal import conformal_threshold
from adaptkit.classes.class_set import ClassSet

CLASSES = ClassSet(("ant", "bee", "cat", "dog"))
UNKNOWN = {"threshold": 0.5, "auroc": 0.9, "false_rejections": 0.1, "caught": 0.8, "rule": "Youden's J"}


@pytest.fixture(scope="module")
def held_out() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (60, 4), the more spread the higher the label, and labels (60,)."""
    labels = torch.arange(60) % 4
    noise = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    return 2.0 * F.one_hot(labels, 4) + noise * (1 + labels[:, None]), labels


@pytest.fixture(scope="module")
def calibration(held_out) -> Calibration:
    return fit_calibration(*held_out, CLASSES, "seeded numbers", leave_classes_out=True)


def test_a_file_says_all_of_it(calibration):
    assert Calibration.from_json(calibration.to_json()) == calibration
    assert calibration.unknown is not None
    assert len(calibration) == 60
    assert calibration.nll[1] <= calibration.nll[0]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "other"}, "no calibration of adaptkit"),
        ({"format_version": 2}, "format version is 2, and this adaptkit reads 1"),
        ({"temperature": 0}, "the temperature is 0"),
        ({"temperature": "1"}, "'1' is no finite number"),
        ({"temperature": 1e999}, "'inf' is no finite number"),
        ({"labels": [4] * 60}, "a label is none of the 4 classes"),
        ({"labels": [0.5] * 60}, "'0.5' is no whole number"),
        ({"own": [2.0] * 60}, "a probability is not between 0 and 1"),
        ({"above": [0.1]}, "not of the same number"),
        ({"images": ["0a"]}, "not of the same number"),
        ({"source": None}, "'None' is no text"),
        ({"unknown": {"threshold": 0.5}}, "'None' is no finite number"),
        ({"temperature": 10**400}, "is no finite number"),
        ({"temperature": math.nan}, "'nan' is no finite number"),
        (
            {"unknown": UNKNOWN | {"threshold": 7}},
            "threshold of unknown classes is 7.0; expected a number",
        ),
        ({"unknown": UNKNOWN | {"rule": 5}}, "'5' is no text"),
        ({"unknown": 3}, "'3' is no threshold"),
        ({"classnames": "ab"}, "'ab' is no list"),
    ],
)
def test_a_damaged_file_is_refused_in_words(calibration, change, complaint):
    content = json.loads(calibration.to_json())
    with pytest.raises(ValueError, match=complaint):
        Calibration.from_json(json.dumps(content | change))


def test_a_file_without_an_entry_is_refused(calibration):
    content = json.loads(calibration.to_json())
    del content["nll"]
    with pytest.raises(ValueError, match="no entry 'nll'"):
        Calibration.from_json(json.dumps(content))


def test_thresholds_follow_the_names_when_classes_come_in_another_order(calibration, held_out):
    order = [2, 0, 3, 1]
    others = ClassSet(tuple(CLASSES.classnames[place] for place in order))
    own, moved = (certainty_of(calibration, classes, 0.8, "lac", "classes").sets for classes in (CLASSES, others))
    assert own is not None
    assert moved is not None
    assert len(set(own.thresholds.tolist())) == 4
    assert torch.equal(moved.thresholds, own.thresholds[order])
    logits = held_out[0]
    assert torch.equal(moved.of(logits[:, order], 1.0), own.of(logits, 1.0)[:, order])


def test_a_threshold_is_of_the_held_out_images_of_its_class(calibration, held_out):
    logits, labels = held_out
    sets = certainty_of(calibration, CLASSES, 0.8, "lac", "classes").sets
    assert sets is not None
    scores = 1 - (logits.double() / calibration.temperature).softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    for label in range(4):
        assert float(sets.thresholds[label]) == pytest.approx(conformal_threshold(scores[labels == label], 0.8))


def test_other_classes_get_the_temperature_with_a_warning_and_no_sets(calibration):
    others = ClassSet(("ant", "bee", "cat"))
    with pytest.warns(UserWarning, match="was fitted for 'ant', 'bee', 'cat' and 1 more and is used for"):
        certainty = certainty_of(calibration, others)
    assert certainty.temperature == calibration.temperature
    with pytest.raises(ValueError, match=r"coverage=0.9 cannot be promised for 'ant', 'bee', 'cat'"):
        certainty_of(calibration, others, 0.9)


@pytest.mark.parametrize(
    "classes",
    [
        ClassSet(CLASSES.classnames, ("a drawing of a {}.",)),
        ClassSet(CLASSES.classnames, spoken=("black ant", "bee", "cat", "dog")),
        ClassSet(CLASSES.classnames, sentences=(("one",), ("two",), ("three",), ("four",))),
        ClassSet((*CLASSES.classnames, "eel")),
    ],
)
def test_other_prompts_are_other_classes(calibration, classes):
    assert calibration.places_in(classes) is None


def test_names_that_two_classes_have_keep_their_order_or_nothing():
    twins = ClassSet(("ant", "ant", "bee"))
    calibration = fit_calibration(torch.randn(9, 3), torch.arange(9) % 3, twins, "noise")
    assert calibration.places_in(twins) == (0, 1, 2)
    assert calibration.places_in(ClassSet(("bee", "ant", "ant"))) is None
    assert hash_of_prompts(twins) == hash_of_prompts(ClassSet(("bee", "ant", "ant")))


def test_too_few_images_for_a_coverage_are_said_once(calibration):
    with pytest.warns(UserWarning, match="99 % coverage takes 99 or more held-out images, and the calibration has 60"):
        sets = certainty_of(calibration, CLASSES, 0.99).sets
    assert sets is not None
    assert bool(sets.of(torch.randn(3, 4), 1.0).all())
    with pytest.warns(UserWarning, match="of a class, and 4 of 4 classes have fewer; so these are in every set"):
        certainty_of(calibration, CLASSES, 0.95, coverage_of="classes")


def test_no_calibration_promises_nothing():
    assert certainty_of(None, CLASSES).temperature == 1
    with pytest.raises(ValueError, match="this method has no calibration; fit one on held-out"):
        certainty_of(None, CLASSES, 0.9)


@pytest.mark.parametrize("coverage", [0, 1, 1.5, True, "0.9"])
def test_what_is_no_coverage_is_refused(calibration, coverage):
    with pytest.raises(ValueError, match="expected a probability between 0 and 1"):
        certainty_of(calibration, CLASSES, coverage)


def test_what_cannot_be_calibrated_is_refused_in_words():
    with pytest.raises(ValueError, match="there is one class only"):
        fit_calibration(torch.zeros(9, 1), torch.zeros(9, dtype=torch.int64), ClassSet(("a",)), "")
    with pytest.raises(ValueError, match="1 held-out images are too few to calibrate on; give 5 or more"):
        fit_calibration(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), ClassSet(("a", "b")), "")


def test_classes_are_left_out_only_where_that_was_asked_for_and_images_show_several(held_out):
    assert fit_calibration(*held_out, CLASSES, "").unknown is None
    one = fit_calibration(held_out[0], torch.zeros(60, dtype=torch.int64), CLASSES, "", leave_classes_out=True)
    assert one.unknown is None


def test_a_calibration_knows_what_it_was_fitted_for(calibration):
    assert calibration.for_learnt("0a") == dataclasses.replace(calibration, learnt_sha256="0a")


def test_a_file_whose_names_and_prompts_do_not_fit_is_for_no_classes(calibration):
    other = dataclasses.replace(calibration, classnames=("ant", "bee", "cat", "eel"))
    assert other.places_in(CLASSES) is None


def test_spoken_names_come_in_any_order():
    spoken = ClassSet(("ant", "bee"), spoken=("black ant", "wild bee"))
    assert hash_of_prompts(spoken) == hash_of_prompts(ClassSet(("bee", "ant"), spoken=("wild bee", "black ant")))
    assert hash_of_prompts(spoken) != hash_of_prompts(ClassSet(("ant", "bee"), spoken=("wild bee", "black ant")))


def test_a_share_of_false_rejections_needs_images_of_several_classes(held_out):
    one_class = torch.zeros(60, dtype=torch.int64)
    with pytest.raises(ValueError, match="show one class only, so no threshold for unknown classes can be chosen"):
        fit_calibration(held_out[0], one_class, CLASSES, "", leave_classes_out=True, most_false_rejections=0.1)


def test_the_same_names_in_other_prompts_are_said_to_be_that(calibration):
    others = ClassSet(CLASSES.classnames, ("a drawing of a {}.",))
    with pytest.raises(ValueError, match="cannot be promised for the same names in other prompts: the calibration was"):
        certainty_of(calibration, others, 0.9)

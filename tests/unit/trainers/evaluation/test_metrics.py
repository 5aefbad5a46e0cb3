"""Metrics over classes are scikit-learn's; equal names stay apart; the files say the same."""

import csv
import json
import sys

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from trainers.evaluation.judgement_files import CLASSES_FILE, MATRIX_FILE, PICTURE_FILE, metrics, write_judgement
from trainers.evaluation.metrics import fitted_offset, judge

NAMES = ("cat", "dog", "cat", "a, b", "=SUM(A1)", "$x$", "猫")


def drawn(seed: int, classes: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K), and labels (N,) of the first classes alone for odd seeds."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, max(1, classes - 2) if seed % 2 else classes, images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), labels] += 1
    return logits, labels


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("classes", "images"), [(2, 9), (5, 40), (7, 3)])
def test_means_over_classes_are_those_of_scikit_learn(seed, classes, images):
    logits, labels = drawn(seed, classes, images)
    judgement = judge(logits, labels, NAMES[:classes])
    answers = logits.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(labels, answers, average="macro", zero_division=0)
    expected = {"precision": 100 * precision, "recall": 100 * recall, "f1": 100 * f1}
    assert judgement.macro == pytest.approx(expected)
    recalls = [one.recall for one in judgement.classes if one.images]
    assert judgement.balanced_accuracy == pytest.approx(np.mean(recalls))
    if set(answers) <= set(labels):
        assert judgement.balanced_accuracy == pytest.approx(100 * balanced_accuracy_score(labels, answers))
    for k in range(1, classes):
        scores = logits[:, 1] if classes == 2 else logits
        if classes > 2:
            expected_k = top_k_accuracy_score(labels, scores, k=k, labels=range(classes))
            assert judgement.topk_accuracy(k) == pytest.approx(100 * expected_k)
    assert judgement.topk_accuracy(classes) == 100
    assert judgement.topk_accuracy(1) == pytest.approx(judgement.score.accuracy)


def test_the_first_class_wins_a_tie_in_top_k_as_it_does_in_accuracy():
    judgement = judge(np.zeros((3, 3)), np.array([0, 1, 2]), NAMES[:3])
    assert [judgement.topk_accuracy(k) for k in (1, 2, 3)] == pytest.approx([100 / 3, 200 / 3, 100])


def test_a_frequent_class_is_the_baseline():
    logits, labels = np.zeros((4, 3)), np.array([1, 1, 2, 1])
    judgement = judge(logits, labels, NAMES[:3])
    assert (judgement.majority.name, judgement.majority_accuracy) == ("dog", 75)
    assert judgement.score.accuracy == 0


def test_a_division_by_zero_is_null_and_not_nan():
    rows = json.loads(json.dumps(metrics(judge(np.eye(4)[[0, 0]], np.array([0, 1]), NAMES[:4])), allow_nan=False))
    assert [row["recall"] for row in rows["per_class"]] == [100, 0, None, None]
    assert [row["precision"] for row in rows["per_class"]] == [50, None, None, None]
    assert rows["confusions"] == [{"true": 1, "predicted": 0, "images": 1}]


def test_the_fitted_offset_expects_as_many_positives_as_there_are_images():
    logits = 20 * np.random.default_rng(0).normal(size=(50, 6)) + 300
    offset = fitted_offset(logits)
    assert (1 / (1 + np.exp(offset - logits))).sum() == pytest.approx(50)


def test_names_have_to_be_as_many_as_columns():
    with pytest.raises(ValueError, match="2 class names for logits of 3 classes"):
        judge(np.zeros((1, 3)), np.array([0]), NAMES[:2])


def test_the_confusion_matrix_of_the_files_is_that_of_scikit_learn(tmp_path):
    pytest.importorskip("matplotlib")
    logits, labels = drawn(0, 7, 60)
    files, missing = write_judgement(judge(logits, labels, NAMES), tmp_path)
    assert missing is None
    assert [file.name for file in files] == [CLASSES_FILE, MATRIX_FILE, PICTURE_FILE]
    assert (tmp_path / PICTURE_FILE).read_bytes().startswith(b"\x89PNG")
    head, *rows = csv.reader((tmp_path / MATRIX_FILE).open(encoding="utf-8", newline=""))
    assert head == ["index", "true class", *NAMES]
    assert [row[:2] for row in rows] == [[str(index), name] for index, name in enumerate(NAMES)]
    assert np.array_equal(np.array([row[2:] for row in rows], int), confusion_matrix(labels, logits.argmax(axis=1)))
    classes = list(csv.DictReader((tmp_path / CLASSES_FILE).open(encoding="utf-8", newline="")))
    assert [row["name"] for row in classes] == list(NAMES)


def test_without_matplotlib_the_reason_is_said_and_no_older_picture_stays(tmp_path, monkeypatch):
    judgement = judge(*drawn(0, 3, 9), NAMES[:3])
    write_judgement(judgement, tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    files, missing = write_judgement(judgement, tmp_path)
    assert "adaptkit-clip[report]" in missing
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(file.name for file in files)


def test_a_matrix_of_very_many_classes_has_those_that_occur(tmp_path):
    names = tuple(f"class {index}" for index in range(1500))
    logits = np.zeros((3, 1500))
    logits[:, 7] = 1
    write_judgement(judge(logits, np.array([7, 1400, 1400]), names), tmp_path)
    head, *rows = csv.reader((tmp_path / MATRIX_FILE).open(newline=""))
    assert head[2:] == ["class 7", "class 1400"]
    assert [row[2:] for row in rows] == [["1", "0"], ["2", "0"]]

"""Temperature, calibration error, scores and sets beside what the papers' definitions give in plain numpy."""

import numpy as np
import pytest
import torch

from adaptkit.calibration.calibration import fit_calibration
from adaptkit.calibration.calibration_error import expected_calibration_error
from adaptkit.calibration.certainty import certainty_of
from adaptkit.calibration.conformal import conformal_threshold
from adaptkit.calibration.temperature import fit_temperature
from adaptkit.classes.class_set import ClassSet
from trainers.evaluation.scoring import log_probabilities, score

CLASSES = ClassSet(("ant", "bee", "cat", "dog", "eel"))


def drawn(count: int, seed: int, spread: float = 3.0, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 5) and labels (N,), with equal logits in a row if asked for."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, count)
    logits = 4 * np.eye(5)[labels] + spread * rng.normal(size=(count, 5))
    return (logits.round() if ties else logits), labels


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_is_the_minimum_that_scipy_finds(seed):
    optimize, special = pytest.importorskip("scipy.optimize"), pytest.importorskip("scipy.special")
    logits, labels = drawn(60, seed)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float((special.logsumexp(scaled, axis=1) - scaled[np.arange(60), labels]).mean())

    found = optimize.minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10})
    assert fit_temperature(torch.from_numpy(logits), torch.from_numpy(labels)) == pytest.approx(np.exp(found.x), 1e-5)


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0, 1e4])
def test_the_calibration_error_is_that_of_guo_et_al(spread):
    logits, labels = drawn(200, 1, spread)
    probabilities = softmax(logits)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for m in range(1, 16):  # bin m is ((m - 1) / 15, m / 15]
        inside = [i for i in range(200) if (m - 1) / 15 < confidence[i] <= m / 15]
        if inside:
            expected += len(inside) / 200 * abs(right[inside].mean() - confidence[inside].mean())
    ours = expected_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(labels))
    assert float(ours) == pytest.approx(expected, abs=1e-12)
    assert score(logits, labels).ece == pytest.approx(100 * expected, abs=1e-9)


def test_logarithms_of_probabilities_stay_finite():
    special = pytest.importorskip("scipy.special")
    logits = np.array([[1e4, 0.0, -1e4], [-800.0, -800.0, -800.0], [0.0, 1e-9, 700.0]])
    assert np.allclose(log_probabilities(logits), special.log_softmax(logits, axis=1), rtol=1e-12)


def set_by_definition(p: np.ndarray, kind: str, threshold: float) -> set[int]:
    """The classes of one image, from its probabilities (C,)."""
    if kind == "lac":
        return {y for y in range(len(p)) if 1 - p[y] <= threshold}
    found, above = set(), 0.0
    for y in sorted(range(len(p)), key=lambda y: (-p[y], y)):  # the most probable first, of equal ones the earlier
        if above <= threshold:
            found.add(y)
        above += p[y]
    return found


def score_by_definition(p: np.ndarray, label: int, kind: str) -> float:
    if kind == "lac":
        return 1 - p[label]
    return sum(p[y] for y in range(len(p)) if p[y] > p[label] or (p[y] == p[label] and y < label))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["lac", "aps"])
@pytest.mark.parametrize(("count", "percent"), [(5, 50), (9, 90), (40, 80), (100, 7), (100, 99), (30, 99)])
@pytest.mark.filterwarnings("ignore:.*held-out images:UserWarning")
def test_sets_are_those_of_the_definition(kind, count, percent, ties):
    (logits, labels), (tests, _) = drawn(count, 2, ties=ties), drawn(50, 3, ties=ties)
    calibration = fit_calibration(torch.from_numpy(logits), torch.from_numpy(labels), CLASSES, "drawn")
    held_out = softmax(logits / calibration.temperature)
    scores = sorted(score_by_definition(p, label, kind) for p, label in zip(held_out, labels, strict=True))
    k = -(-(count + 1) * percent // 100)  # ceil((n + 1) coverage), in whole numbers
    threshold = scores[k - 1] if k <= count else np.inf
    certainty = certainty_of(calibration, CLASSES, percent / 100, kind)
    assert certainty.sets is not None
    inside = certainty.sets.of(torch.from_numpy(tests), certainty.temperature).numpy()
    for row, p in zip(inside, softmax(tests / calibration.temperature), strict=True):
        nearly = set_by_definition(p, kind, threshold - 1e-12), set_by_definition(p, kind, threshold + 1e-12)
        assert nearly[0] <= set(np.flatnonzero(row).tolist()) <= nearly[1]
    if k > count:
        assert inside.all(), "with too few images nothing less than all classes keeps the promise"


@pytest.mark.parametrize("percent", range(1, 100))
def test_the_threshold_is_the_quantile_of_the_finite_sample(percent):
    scores = np.random.default_rng(percent).normal(size=37)
    k = -(-38 * percent // 100)
    found = conformal_threshold(torch.from_numpy(scores), percent / 100)
    assert found == (np.sort(scores)[k - 1] if k <= 37 else np.inf)


def test_logits_in_single_precision_are_calibrated_in_double():
    logits, labels = (torch.from_numpy(part) for part in drawn(40, 4))
    single = logits.float()
    assert fit_calibration(single, labels, CLASSES, "") == fit_calibration(single.double(), labels, CLASSES, "")


def test_a_probability_that_is_no_number_has_no_calibration_error():
    with pytest.raises(ValueError, match="a probability is not finite"):
        expected_calibration_error(torch.tensor([[0.5, 0.5], [torch.nan, 0.2]]), torch.tensor([0, 1]))

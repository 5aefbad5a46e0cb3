"""Pair tests (arXiv:2401.06209, arXiv:2406.11171): the embedded ones before and after tuning on pairs."""

import math
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

from adaptkit import create_method, load
from benchmarks.seed_systems.findings import Finding, Value, over, share
from benchmarks.seed_systems.suite import backbone
from benchmarks.verdicts import verdict
from datasets_fewshot import load_dataset
from datasets_fewshot.pair_tests.load import load_pair_tests
from trainers.evaluation.pair_tests.comparison import Comparison, mcnemar
from trainers.feeding.kept_pixels import KeptPixels
from trainers.pairs.diagnosis.main import Diagnosis, Questions, diagnose
from trainers.pairs.diagnosis.outcomes import Outcomes, outcomes_of
from trainers.pairs.diagnosis.tested import ALL
from trainers.pairs.judging import Looking
from trainers.pairs.main import tune
from trainers.pairs.result import TuneRequest
from trainers.pairs.settings import pair_settings

SEEDS = (1, 2, 3)
METHODS = ("clip_lora", "adapter")
WORDS = ("OPTIM.EPOCHS", "5", "VIEWS.AUGMENT", "none")  # half of the default epochs, on images as they are
SIGNIFICANT = 0.05
SHOWN = (
    (ALL, "pair accuracy"),
    ("two_texts", "ITT"),
    ("two_texts", "P1 only"),
    ("two_texts", "TOT"),
    ("image_pairs", "group score"),
)


def measure() -> list[Finding]:
    """The findings."""
    plain = diagnose(backbone(), Questions((load_pair_tests("mini_pair_tests"),)))
    return [_words_or_meaning(plain), _pairs_of_images(plain), _length(plain), *map(_tuned, METHODS)]


def _row(found: Diagnosis, subset: str, metric: str) -> Comparison:
    rows = found.tested[0].comparisons
    return next(row for row in rows if (row.subset, row.metric) == (subset, metric))


def _percent(row: Comparison, what: str) -> Value:
    outcomes = [True] * row.before.right + [False] * (row.before.items - row.before.right)
    return share(f"{what}, chance {row.chance:.1f} %", outcomes)


@cache
def _outcomes() -> Outcomes:
    """Outcomes of the backbone alone, item by item."""
    plain = create_method("zero_shot", backbone(), None)
    return outcomes_of(plain, load_pair_tests("mini_pair_tests"), Looking("fp32", 0, KeptPixels()))


def _words_or_meaning(plain: Diagnosis) -> Finding:
    """P1 only against P2 only: ITT is below both by definition, so that it could not be compared with either."""
    rows = [_row(plain, "two_texts", metric) for metric in ("P1 only", "P2 only", "ITT", "TOT")]
    own = _outcomes()["two_texts"]
    test = mcnemar(own["P1 only"], own["P2 only"])
    return Finding(
        "A model that tells a false caption from a true one in like words fails more often where the same is said in "
        "other words",
        "ours, after the question of the SugarCrepe++ abstract",
        f"frozen embedded model, {rows[0].before.items} emoji with two names; errors are binomial",
        (*(_percent(row, row.metric) for row in rows), Value("McNemar's exact p of P1 and P2", test.p_value, unit="")),
        verdict(test.p_value < SIGNIFICANT and test.broken > test.mended),
        f"Of {rows[0].before.items} items {test.broken} are right with the first text alone and {test.mended} with the "
        f"second alone; {'so many' if test.p_value < SIGNIFICANT else 'so few'} "
        f"{'do' if test.p_value < SIGNIFICANT else 'do not'} tell the two apart. No published number is compared: the "
        "sets are others.",
    )


def _pairs_of_images(plain: Diagnosis) -> Finding:
    rows = [_row(plain, "image_pairs", metric) for metric in ("text score", "image score", "group score")]
    return Finding(
        "CLIP tells pairs of images that look alike to it apart no better than chance",
        "2401.06209, for MMVP-VLM",
        f"frozen embedded model, {rows[0].before.items} pairs of drawings of one kind; errors are binomial",
        tuple(_percent(row, row.metric) for row in rows),
        "not tested",
        "The pairs of the embedded test are drawings of one kind, not pairs that were mined to look alike to CLIP, and "
        "MMVP-VLM is not embedded; `adaptkit diagnose --tests MMVP_VLM` scores it.",
    )


def _length(plain: Diagnosis) -> Finding:
    rules = plain.tested[0].length_rules
    values = tuple(Value(f"{name}: the longer text is true, by letters", rule.letters) for name, rule in rules.items())
    biased = [name for name, rule in rules.items() if rule.is_biased]
    return Finding(
        "The embedded tests cannot be passed by the length of a text",
        "ours",
        "share of pairs of a true and a false text; exact, 50 % says nothing",
        values,
        verdict(*(name not in biased for name in rules)),
        "Subsets above 60 % or below 40 %, by words or by letters: " + (", ".join(biased) or "none") + ".",
    )


@cache
def _diagnosed(method: str, seed: int) -> Diagnosis:
    with tempfile.TemporaryDirectory() as folder:
        settings = pair_settings(method, (), "info_nce", WORDS)
        tune(
            TuneRequest("mini_pairs", Path(folder) / "out", settings, "adaptkit-mini", seed=seed, device="cpu"),
            lambda message: None,
        )
        questions = Questions((load_pair_tests("mini_pair_tests"),), guard=load_dataset("icons"))
        return diagnose(load(Path(folder) / "out", backbone()), questions, method)


def _tuned(method: str) -> Finding:
    """Verdicts are McNemar's: an error over seeds says nothing of how few the items are, which all seeds share."""
    found = [_diagnosed(method, seed) for seed in SEEDS]
    rows = {shown: [_row(one, *shown) for one in found] for shown in SHOWN}
    values = [
        over(f"{subset}, {metric}: after minus before", _changes(own), "points")
        for (subset, metric), own in rows.items()
    ]
    guard = [_guard(one) for one in found]
    values.append(over("icons, zero-shot: after minus before", _changes(guard), "points"))
    tests = [row.changes for own in (*rows.values(), guard) for row in own if row.changes is not None]
    pooled = rows[ALL, "pair accuracy"]
    broken, mended = (fmean(_count(row, what) for row in pooled) for what in ("broken", "mended"))
    worse = [test for test in tests if test.p_value < SIGNIFICANT and test.broken > test.mended]
    return Finding(
        f"Tuning {method} on image-text pairs breaks nothing that the pair tests see",
        "ours",
        f"mini_pairs, {len(SEEDS)} seeds, the command's defaults but for {' '.join(WORDS)} and no guard; the place on "
        "the line by validation pairs; errors are over seeds, which share all items",
        (
            *values,
            Value(f"items broken of {pooled[0].before.items}, mean over seeds", broken, unit=""),
            Value("items mended, mean over seeds", mended, unit=""),
            Value(f"the least of McNemar's p over {len(tests)} rows and seeds", min(t.p_value for t in tests), unit=""),
        ),
        verdict(not worse),
        f"Of {len(tests)} tests of a row in a seed, {len(worse)} have more items broken than mended with a p below "
        f"{SIGNIFICANT}. With this many items smaller changes are not seen, so nothing says that there are none.",
    )


def _guard(found: Diagnosis) -> Comparison:
    assert found.guard is not None
    return found.guard


def _changes(rows: Sequence[Comparison]) -> list[float]:
    return [(math.nan if row.after is None else row.after.percent) - row.before.percent for row in rows]


def _count(row: Comparison, what: str) -> int:
    assert row.changes is not None
    return row.changes.broken if what == "broken" else row.changes.mended

"""A diagnosis as text and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from trainers.evaluation.pair_tests.comparison import Comparison, Share
from trainers.evaluation.retrieval import PairScores
from trainers.pairs.diagnosis.main import Diagnosis
from trainers.pairs.diagnosis.tested import Tested

NAME, CELL = 40, 19  # letters of a column
RECALLED = (("images by text", "text_to_image"), ("texts by image", "image_to_text"))


def report(diagnosis: Diagnosis) -> str:
    """The whole diagnosis as text."""
    return "\n".join(_lines(diagnosis))


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    if diagnosis.adapter is None:
        yield f"{diagnosis.backbone} without an adapter; numbers in brackets are 95 % intervals"
    else:
        yield (
            f"{diagnosis.adapter}: before is {diagnosis.backbone} without it, after with it; numbers in brackets are "
            "95 % intervals, p is of McNemar's exact test"
        )
    for one in diagnosis.tested:
        yield from lines_of_test(one)
    if diagnosis.recall_before is not None:
        yield f"retrieval among the test images of {diagnosis.pairs}"
        for name, before, after in recall_rows(diagnosis.recall_before, diagnosis.recall_after):
            yield f"  {name:{NAME - 2}}{before:9.1f}" + ("" if after is None else f"{after:9.1f}{after - before:+9.1f}")
    if diagnosis.guard is not None:
        yield f"zero-shot accuracy on {diagnosis.guard.tests}"
        yield from _table([diagnosis.guard])
    if diagnosis.blind is not None:
        yield f"{len(diagnosis.blind)} pairs of images that are alike to the model and not to the other encoder"
        for pair in diagnosis.blind:
            yield f"  {pair.clip:.3f}  {pair.other:.3f}  {pair.images[0]}  {pair.images[1]}"


def lines_of_test(one: Tested) -> Iterator[str]:
    """One pair test: a row for each subset and metric, means, and what speaks against the test itself."""
    yield f"pair test {one.name}"
    yield from _table(one.comparisons)
    for mean in one.means:
        after = "" if mean.after is None else f"  after {mean.after:5.1f} %  ({mean.after - mean.before:+.1f})"
        yield f"  mean of {mean.subsets} subsets, {mean.metric}: before {mean.before:5.1f} %{after}"
    for subset, rule in one.length_rules.items():
        if rule.is_biased:
            yield (
                f"  {subset} is biased: the longer text is the true one in {rule.words:.0f} % by words and "
                f"{rule.letters:.0f} % by letters, which a rule without images can use"
            )
    if one.cut:
        yield f"  {one.cut} texts were longer than the text tower reads and were cut at a clause or a word"
    for note in one.notes:
        yield f"  note: {note}"


def _table(rows: Sequence[Comparison]) -> Iterator[str]:
    has_after = any(row.after is not None for row in rows)
    head = f"  {'':{NAME - 2}}{'items':>7}{'chance':>8}{'before (%)':>{CELL}}"
    yield head + (f"{'after (%)':>{CELL}}{'change':>8}{'broken':>8}{'mended':>8}{'p':>9}" if has_after else "")
    for row in rows:
        yield f"  {named(row)[: NAME - 3]:{NAME - 2}}{row.before.items:7}{row.chance:8.1f}" + "".join(_cells(row))


def _cells(row: Comparison) -> Iterator[str]:
    yield f"{interval(row.before):>{CELL}}"
    if row.after is not None and row.changes is not None:
        changes = row.changes
        yield f"{interval(row.after):>{CELL}}{row.after.percent - row.before.percent:+8.1f}"
        yield f"{changes.broken:8}{changes.mended:8}{p_value(changes.p_value):>9}"


def named(row: Comparison) -> str:
    """What a row is called."""
    return f"{row.subset}, {row.metric}"


def interval(one: Share) -> str:
    """A share with its interval, such as "61.2 [54.0, 68.0]"."""
    return f"{one.percent:.1f} [{one.low:.0f}, {one.high:.0f}]"


def p_value(value: float) -> str:
    """A probability as it is read."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def recall_rows(before: PairScores, after: PairScores | None) -> Iterator[tuple[str, float, float | None]]:
    """Every recall both ways in percent, and their sum."""
    for name, way in RECALLED:
        one, two = getattr(before, way), None if after is None else getattr(after, way)
        for k in one.recall:
            yield f"{name}, recall@{k} (%)", one.recall[k], None if two is None else two.recall[k]
    yield "rsum", before.rsum, None if after is None else after.rsum


def tested_as_json(one: Tested) -> dict[str, object]:
    """A pair test for programs, without its items."""
    return {
        "name": one.name,
        "comparisons": [asdict(row) for row in one.comparisons],
        "means": [asdict(mean) for mean in one.means],
        "length_rules": {
            subset: {**asdict(rule), "is_biased": rule.is_biased} for subset, rule in one.length_rules.items()
        },
        "texts_cut": one.cut,
        "notes": list(one.notes),
    }


def as_json(diagnosis: Diagnosis) -> dict[str, object]:
    """The whole diagnosis for programs, with the items that broke and those that were mended."""
    changed = ("broken", "mended")
    return {
        "backbone": diagnosis.backbone,
        "adapter": diagnosis.adapter,
        "tests": [
            tested_as_json(one)
            | {what: [{"subset": row.subset, **asdict(row.item)} for row in getattr(one, what)] for what in changed}
            for one in diagnosis.tested
        ],
        "pairs": diagnosis.pairs,
        "recall_before": None if diagnosis.recall_before is None else asdict(diagnosis.recall_before),
        "recall_after": None if diagnosis.recall_after is None else asdict(diagnosis.recall_after),
        "guard": None if diagnosis.guard is None else asdict(diagnosis.guard),
        "blind": None if diagnosis.blind is None else [asdict(pair) for pair in diagnosis.blind],
    }

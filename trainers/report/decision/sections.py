"""A decision as sections of a page. What is of the model alone is shown by the served page too, without its images."""

from collections.abc import Sequence

from trainers.evaluation.judgement_files import PICTURE_FILE, RELIABILITY_FILE
from trainers.report.decision.adapter import UnknownFacts
from trainers.report.decision.chart import Mark, chart
from trainers.report.decision.leaderboard import CHOSEN, Leaderboard
from trainers.report.decision.lists import list_sections
from trainers.report.decision.reading import SHEETS, Decision
from trainers.report.decision.summary import (
    SHEET_FILE,
    CalibrationSeen,
    ClassSummary,
    Gain,
    Label,
    LabelSummary,
    SetsSeen,
    Summary,
)
from trainers.report.pieces import notes, paragraph, picture, preformatted, section, table
from trainers.tables.aggregate import BASELINE
from trainers.tables.formats import MISSING

MOST_ROWS = 200  # of a table
MOST_MARKS = 40  # of a figure
PARTS = {"train": "training images", "val": "validation images", "test": "test images"}
NO_PICTURE = (
    f"A picture of it, {RELIABILITY_FILE}, is drawn by `adaptkit train --calibrate` and `adaptkit eval --out` where "
    "matplotlib is installed: pip install 'adaptkit-clip[report]'"
)
NOT_SEEN = (
    "What the calibration is worth on test images stands in no summary; `adaptkit eval ADAPTER --data DATA --coverage "
    "0.9 --out JUDGED` measures it, and a report takes JUDGED too."
)
BY_NAMES = "zero-shot, by class names alone"
NOTHING = "There is no summary, no leaderboard and no calibration here."


def all_sections(decision: Decision) -> str:
    """Everything that is known, for a report."""
    parts = (_not_shown, model_sections, _mistakes, _notes, _suggestions)
    made = [part(decision) for part in parts]
    return "\n".join(filter(None, made)) or section("Nothing to show", paragraph(NOTHING))


def model_sections(decision: Decision) -> str:
    """What a model is worth, how it was chosen, what it promises and what texts gave; "" where nothing is known."""
    summary = decision.summary
    made = [
        "" if summary is None else _results(summary),
        "" if decision.leaderboard is None else _leaderboard(decision.leaderboard),
        _calibration(decision),
        _text_gains(summary.text_gains) if isinstance(summary, ClassSummary) and summary.text_gains else "",
        _labels(summary.per_label) if isinstance(summary, LabelSummary) else "",
    ]
    return "\n".join(filter(None, made))


def _not_shown(decision: Decision) -> str:
    """What cannot be read, and what somebody would have to draw or measure first."""
    said = list(decision.problems)
    seen = _seen(decision)
    if decision.calibration is not None and seen is None:
        said.append(NOT_SEEN)
    if seen is not None and RELIABILITY_FILE not in decision.pictures:
        said.append(NO_PICTURE)
    return section("What is not shown", notes(said)) if said else ""


def _results(summary: Summary) -> str:
    made = _class_results(summary) if isinstance(summary, ClassSummary) else _label_results(summary)
    count = summary.test_images if isinstance(summary, ClassSummary) else summary.images
    return section(f"On {count} {_kind_of_images(summary)}", made)


def _kind_of_images(summary: Summary) -> str:
    return PARTS.get(summary.part, "images") + (f" of {summary.dataset}" if summary.dataset else "")


def _class_results(summary: ClassSummary) -> str:
    rows = [("this model", _accuracy(summary))]
    if summary.zero_shot_accuracy is not None:
        rows.append((BY_NAMES, _percent(summary.zero_shot_accuracy)))
    return table(("", "accuracy (%) [95 % interval]"), rows)


def _label_results(summary: LabelSummary) -> str:
    head = ("", "mean average precision (%)", "micro F1 (%)", "macro F1 (%)", "all labels right (%) [95 % interval]")
    scores = map(_percent, (summary.mean_average_precision, summary.micro_f1, summary.macro_f1))
    rows = [("this model", *scores, _accuracy(summary))]
    if summary.zero_shot_mean_average_precision is not None:
        rows.append((BY_NAMES, _percent(summary.zero_shot_mean_average_precision), MISSING, MISSING, MISSING))
    return table(head, rows)


def _accuracy(summary: Summary) -> str:
    low, high = summary.interval
    return f"{summary.accuracy:.1f} [{low:.1f}, {high:.1f}]"


def leaderboard_chart(board: Leaderboard) -> str:
    """Candidates that were compared on all folds, with their standard errors."""
    compared = [row for row in board.rows if row.mean is not None and row.folds == board.folds]
    marks = [Mark(row.candidate, row.mean or 0.0, row.standard_error or 0.0, row.state == CHOSEN) for row in compared]
    line = next((row.mean for row in compared if row.candidate == BASELINE), None)
    caption = f"{board.measure} in percent on held-out training images, with standard errors; dashed: zero-shot"
    return chart(marks[:MOST_MARKS], caption, line)


def _leaderboard(board: Leaderboard) -> str:
    made = board.table()
    cells = table(made.headers, made.rows[:MOST_ROWS], words=(0, 1))
    figure = leaderboard_chart(board)
    return section("How it was chosen", paragraph(board.decision), figure, cells, notes(board.told()))


def _calibration(decision: Decision) -> str:
    facts, seen, rows = decision.calibration, _seen(decision), []
    fitted = facts or seen
    if fitted is None:
        return ""
    if facts is not None:
        before, after = facts.ece
        rows.append((f"{len(facts.labels)} held-out images, on which it was fitted", f"{before:.2f}", f"{after:.2f}"))
    if seen is not None:
        rows.append(("images that it is judged on", f"{seen.ece.before:.2f}", f"{seen.ece.after:.2f}"))
    return section(
        "How sure it is",
        paragraph(f"Logits are divided by a temperature of {fitted.temperature:.3g}, fitted on {fitted.source}."),
        table(("expected calibration error", "before (%)", "after (%)"), rows),
        "" if seen is None else _sets(seen.sets) + _reliability(decision),
        "" if facts is None or facts.unknown is None else paragraph(_unknown(facts.unknown)),
        notes(() if seen is None else seen.notes),
    )


def _seen(decision: Decision) -> CalibrationSeen | None:
    """What the results say of the calibration; None if they are of an earlier one, or there is none."""
    facts = decision.calibration
    seen = decision.summary.calibration if isinstance(decision.summary, ClassSummary) else None
    if decision.adapter is None and facts is None:  # a judgement says itself which calibration it is of
        return seen
    is_this = seen and facts and (seen.temperature, seen.source) == (facts.temperature, facts.source)
    return seen if is_this else None


def _sets(sets: Sequence[SetsSeen]) -> str:
    if not sets:
        return ""
    head = ("sets of classes", "kind", "promised (%)", "held the right class (%)", "classes in a set", "empty (%)",
            "least covered class (%)")  # fmt: skip
    rows = [
        (
            "for all images" if one.coverage_of == "images" else "for each class",
            one.score,
            f"{100 * one.promised:g}",
            f"{100 * one.covered:.1f} ± {100 * one.standard_error:.1f}",
            f"{one.mean_size:.2f} ± {one.size_error:.2f}",
            f"{100 * one.empty:.1f}",
            f"{100 * one.least_covered:.1f}",
        )
        for one in sets
    ]
    return table(head, rows, words=(0, 1))


def _reliability(decision: Decision) -> str:
    drawn = decision.pictures.get(RELIABILITY_FILE)
    return "" if drawn is None else picture(drawn, "How often answers are right, by confidence")


def _unknown(unknown: UnknownFacts) -> str:
    return (
        f"Unknown classes: `--reject auto` answers 'unknown' below {100 * unknown.threshold:.1f} % ({unknown.rule}). "
        f"On classes left out that is {100 * unknown.caught:.0f} % of unknown and "
        f"{100 * unknown.false_rejections:.0f} % of known images; the area under the ROC curve is {unknown.auroc:.2f}."
    )


def _text_gains(gains: Sequence[Gain]) -> str:
    rows = [
        (
            f"{one.images} {PARTS.get(one.part, one.part)}",
            f"{one.before:.1f}",
            f"{one.after:.1f}",
            f"{one.after - one.before:+.1f}",
        )
        for one in gains
    ]
    head = ("zero-shot accuracy", "by names alone (%)", "by your texts (%)", "change")
    return section("What your texts gave", table(head, rows))


def _labels(labels: Sequence[Label]) -> str:
    shown = labels[:MOST_ROWS]
    rows = [
        (
            one.name,
            str(one.images),
            *map(_percent, (one.average_precision, one.precision, one.recall, one.f1)),
            f"{100 * one.threshold:.1f}",
        )
        for one in shown
    ]
    head = ("label", "test images", "average precision (%)", "precision (%)", "recall (%)", "F1 (%)", "threshold (%)")
    ranked = [Mark(one.name, one.average_precision) for one in labels if one.average_precision is not None]
    figure = chart(ranked[:MOST_MARKS], "average precision of each label, in percent")
    more = paragraph(f"The first {MOST_ROWS} of {len(labels)} labels; labels.csv has all.")
    return section("Label by label", figure, table(head, rows), more if len(labels) > len(shown) else "")


def _mistakes(decision: Decision) -> str:
    titles = {SHEET_FILE: "The worst test images"}
    if isinstance(decision.summary, ClassSummary):
        titles[PICTURE_FILE] = "Which class is taken for which"
    return "\n".join(
        section(title, picture(decision.pictures[name], title))
        for name, title in titles.items()
        if name in decision.pictures
    )


def _notes(decision: Decision) -> str:
    said = () if decision.summary is None else decision.summary.notes
    return section("Notes", notes(said)) if said else ""


def _suggestions(decision: Decision) -> str:
    found = decision.suggestions
    if found is None:
        return ""
    sheets = {name: decision.pictures[file] for name, file in SHEETS.items() if file in decision.pictures}
    summary = section(f"What next for {found.dataset}", preformatted(found.summary()))
    return f"{summary}\n{list_sections(found, sheets)}"


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"

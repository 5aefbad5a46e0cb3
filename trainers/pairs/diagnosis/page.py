"""A diagnosis as one HTML page with everything inside: it opens from a folder, and asks no network for anything."""

import io
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from datasets_fewshot.images.read import Reading, load_image
from trainers.evaluation.pair_tests.comparison import Comparison
from trainers.pairs.diagnosis.main import Diagnosis
from trainers.pairs.diagnosis.report import interval, named, p_value, recall_rows
from trainers.pairs.diagnosis.tested import Changed, Tested
from trainers.report.pieces import address, frame, heading, notes, paragraph, section, table

SHOWN = 60  # items of a test that broke, and as many that were mended
THUMBNAIL = 112  # pixels of the longer side
SIGNIFICANT = 0.05
FOOTER = "Written by <code>adaptkit diagnose</code>. Numbers in brackets are Wilson's 95 % intervals in percent."
STYLE = """
main h2 { margin-bottom: 12px; }
.pictures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 12px; padding: 0 16px 16px;
}
.pictures figure { margin: 0; display: flex; gap: 10px; align-items: flex-start; }
.pictures img {
  width: 84px; height: 84px; object-fit: contain; background: #fff; border: 1px solid var(--line); border-radius: 8px;
}
.pictures figcaption { font-size: 0.84rem; min-width: 0; overflow-wrap: anywhere; }
.pictures small { color: var(--soft); display: block; }
.good { color: var(--good); } .bad { color: var(--bad); }
"""


def page(diagnosis: Diagnosis) -> str:
    """The page as text; names, texts and paths are escaped."""
    title = f"What {diagnosis.adapter or diagnosis.backbone} gets right"
    if diagnosis.adapter is not None:
        title = f"What {diagnosis.adapter} broke"
    introduction = paragraph(_introduction(diagnosis))
    return frame(title, "diagnosis", introduction, "\n".join(_sections(diagnosis)), FOOTER, STYLE)


def _introduction(diagnosis: Diagnosis) -> str:
    if diagnosis.adapter is None:
        return f"{diagnosis.backbone} without an adapter."
    return (
        f"Before is {diagnosis.backbone} without the adapter, after with it. An item broke if it was right before and "
        "is wrong after; p is of McNemar's exact two-sided test on the items that changed. The more rows there are, "
        "the more of them have a p below 0.05 by chance."
    )


def _sections(diagnosis: Diagnosis) -> Iterator[str]:
    for one in diagnosis.tested:
        yield section(f"Pair test {one.name}", _compared(one.comparisons), _notes(one), _pictures(one))
    if diagnosis.recall_before is not None:
        rows = recall_rows(diagnosis.recall_before, diagnosis.recall_after)
        cells = [
            (name, f"{one:.1f}", *(() if two is None else (f"{two:.1f}", f"{two - one:+.1f}")))
            for name, one, two in rows
        ]
        head = ("", "before", *(("after", "change") if diagnosis.recall_after is not None else ()))
        yield section(f"Retrieval on {diagnosis.pairs}", table(head, cells))
    if diagnosis.guard is not None:
        yield section(f"Zero-shot accuracy on {diagnosis.guard.tests}", _compared([diagnosis.guard]))
    if diagnosis.blind is not None and diagnosis.questions.blind is not None:
        root = diagnosis.questions.blind.folder
        figures = "".join(
            _figure(root, "upright", pair.images, [(f"cosine {pair.clip:.3f} here, {pair.other:.3f} there", "")])
            for pair in diagnosis.blind[:SHOWN]
        )
        yield section("Alike to the model, unlike to the other encoder", f'<div class="pictures">{figures}</div>')


def _compared(rows: Sequence[Comparison]) -> str:
    has_after = any(row.after is not None for row in rows)
    more = ("after (%)", "change", "broken", "mended", "p") if has_after else ()
    return table(("", "items", "chance (%)", "before (%)", *more), [tuple(_row(row)) for row in rows], _marks(rows))


def _row(row: Comparison) -> Iterator[str]:
    yield from (named(row), str(row.before.items), f"{row.chance:.1f}", interval(row.before))
    if row.after is not None and row.changes is not None:
        yield from (interval(row.after), f"{row.after.percent - row.before.percent:+.1f}")
        yield from (str(row.changes.broken), str(row.changes.mended), p_value(row.changes.p_value))


def _marks(rows: Sequence[Comparison]) -> list[str]:
    """The class of each row: whether it changed by more than chance would."""
    return [
        ""
        if row.changes is None or row.changes.p_value >= SIGNIFICANT
        else "bad"
        if row.changes.broken > row.changes.mended
        else "good"
        for row in rows
    ]


def _notes(one: Tested) -> str:
    biased = [
        f"{subset} is biased: the longer text is the true one in {rule.words:.0f} % by words and {rule.letters:.0f} % "
        "by letters."
        for subset, rule in one.length_rules.items()
        if rule.is_biased
    ]
    return notes([*biased, *one.notes])


def _pictures(one: Tested) -> str:
    parts = []
    for what, changed in (("broken", one.broken), ("mended", one.mended)):
        if changed:
            more = f", of which the first {SHOWN} are shown" if len(changed) > SHOWN else ""
            figures = "".join(_changed(one, row) for row in changed[:SHOWN])
            parts.append(f'{heading(f"Items {what}: {len(changed)}{more}")}<div class="pictures">{figures}</div>')
    return "".join(parts)


def _changed(one: Tested, row: Changed) -> str:
    item = row.item
    lines = [("", text) for text in item.positives]
    lines += [("not: ", text) for text in item.negatives]
    captions = [(f"{word}{text}", row.subset if place == 0 else "") for place, (word, text) in enumerate(lines)]
    return _figure(one.tests.image_root, one.tests.reading, item.images, captions)


def _figure(root: Path, reading: Reading, images: Sequence[str], lines: Sequence[tuple[str, str]]) -> str:
    pictures = "".join(
        f'<img src="{thumbnail(root / image, reading)}" alt="" title="{escape(image)}">' for image in images
    )
    said = "".join(
        (f"<small>{escape(above)}</small>" if above else "") + f"{escape(text)}<br>" for text, above in lines
    )
    return f"<figure>{pictures}<figcaption>{said}</figcaption></figure>"


def thumbnail(path: Path, reading: Reading) -> str:
    """A small picture of an image as an address that holds it.

    Raises:
        BadImageError: if the file cannot be read any more.
    """
    image = load_image(path, reading)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return address(content.getvalue(), "jpeg")

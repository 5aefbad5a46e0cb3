"""The table and the picture of a grid of settings."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from adaptkit.artefacts.atomic_file import replacing, write_text
from trainers.fit.recipe_grid import RecipeResult, Row
from trainers.report.plots import COLORS, DASHES, MARKERS, STYLE
from trainers.tables.formats import MISSING, Table

JSON_FILE, TABLE_FILE, CSV_FILE, PICTURE_FILE = "recipe.json", "recipe.md", "recipe.csv", "recipe.svg"


def recipe_table(result: RecipeResult) -> Table:
    """A row per point of the grid; the best is marked."""
    keys, best = list(result.rows[0].settings), result.rows.index(result.best)
    rows = tuple(
        (*(row.settings[key] for key in keys), _percent(row.mean), _percent(row.std), _number(row.loss))
        for row in result.rows
    )
    seeds = ", ".join(map(str, result.seeds))
    notes = [
        f"accuracy in percent on {result.val_images} validation images of each seed's draw; seeds {seeds}; no test "
        "image was looked at",
        "the trainings went side by side, in one loop" if result.alone is None else f"one by one: {result.alone}",
    ]
    if any(row.mean is None for row in result.rows):
        notes.append(f"{MISSING}: a training diverged")
    return Table(
        f"{result.method} on {result.dataset}, {result.shots} shots, {result.backbone}",
        (*keys, "accuracy", "std", "loss"),
        rows,
        tuple(notes),
        best=((best, len(keys)),),
    )


def write_recipe(result: RecipeResult, folder: Path) -> list[Path]:
    """Write the grid as JSON, Markdown, CSV and, where matplotlib is installed, as a picture; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table, written = recipe_table(result), []
    content = {
        **{name: value for name, value in asdict(result).items() if name != "rows"},
        "best": result.best.settings,
        "rows": [{**asdict(row), "mean": row.mean, "std": row.std} for row in result.rows],
    }
    rows = io.StringIO()
    csv.writer(rows, lineterminator="\n").writerows([table.headers, *table.rows])
    for name, text in (
        (JSON_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n"),
        (TABLE_FILE, table.markdown()),
        (CSV_FILE, rows.getvalue()),
    ):
        write_text(folder / name, text)
        written.append(folder / name)
    return [*written, *_draw(result, folder / PICTURE_FILE)]


def _draw(result: RecipeResult, path: Path) -> list[Path]:
    """Accuracy against the first key, a line for each combination of the others; bars are the std over seeds."""
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError:
        return []
    key, *others = result.rows[0].settings
    lines: dict[str, list[Row]] = {}
    for row in result.rows:
        lines.setdefault(", ".join(f"{other} {row.settings[other]}" for other in others), []).append(row)
    places = _places([row.settings[key] for row in result.rows])
    with style.context(STYLE):
        figure = Figure((5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for number, (label, rows) in enumerate(lines.items()):
            known = [row for row in rows if row.mean is not None]
            axes.errorbar(
                [places[row.settings[key]] for row in known],
                [row.mean or 0.0 for row in known],
                yerr=[row.std or 0.0 for row in known],
                color=COLORS[number % len(COLORS)],
                marker=MARKERS[number % len(MARKERS)],
                linestyle=DASHES[number % len(DASHES)],
                capsize=2,
                label=label,
            )
        values = list(dict.fromkeys(row.settings[key] for row in result.rows))
        if _is_log(values):
            axes.set_xscale("log")
        axes.set_xticks([places[value] for value in values], values)
        axes.minorticks_off()
        axes.set_xlabel(key)
        axes.set_ylabel("accuracy, % of validation images")
        axes.set_title(f"{result.method} on {result.dataset}, {result.shots} shots")
        if others:
            axes.legend(fontsize="small")
        with replacing(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
    return [path]


def _is_log(values: Sequence[str]) -> bool:
    """Whether values are positive numbers, which stand on a log scale."""
    try:
        return all(float(value) > 0 for value in values)
    except ValueError:
        return False


def _places(values: Sequence[str]) -> Mapping[str, float]:
    """Where values stand on the axis: numbers at themselves, words one after another."""
    try:
        return {value: float(value) for value in values}
    except ValueError:
        return {value: float(place) for place, value in enumerate(dict.fromkeys(values))}


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4f}"

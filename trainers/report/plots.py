"""The page's figures as PNG and SVG through matplotlib: the same points, for papers and readmes."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.artefacts.atomic_file import replacing
from trainers.evaluation.scoring import harmonic_mean
from trainers.protocols.registry import EvalProtocol, get_protocol
from trainers.report.points import Point, figure_groups, points
from trainers.report.publications import AVERAGE
from trainers.runs.records import ResultRecord
from trainers.tables.aggregate import BASELINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
MOST_BARS = 8  # Methods beside the baseline; more become a map.
BASE_COLOR = "#7b8794"
COLORS = ("#0072b2", "#d55e00", "#00855f", "#b0458a", "#8a6d00", "#2f8fc4", "#7a4fb5", "#4b5563")
MARKERS = ("o", "s", "^", "D", "v", "X", "p")
DASHES = ("-", "--", ":", "-.")
STYLE = Path(__file__).parent / "assets" / "plots.mplstyle"
Draw = Callable[["Figure", Sequence[Point], "Looks"], bool]
Looks = dict[str, dict[str, str]]


def draw_plots(records: Sequence[ResultRecord], folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Draw all figures of the records into a folder; return the paths of the files.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib; install it with: pip install 'adaptkit-clip[report]'") from error
    written: list[Path] = []
    names: list[str] = []
    for group in figure_groups(records):
        first, protocol = group[0], get_protocol(group[0].protocol)
        name = protocol.name + (f"_from_{first.dataset}" if protocol.layout == "sources" else "")
        name = name if name not in names else f"{name}_{first.suite}_{first.backbone}_{first.identity['precision']}"
        names.append(name)
        chosen = points(group)
        looks = _looks(chosen)
        for kind, size, draw in _figures(protocol):
            with style.context(STYLE):
                figure = Figure(size(chosen), layout="constrained")
                if draw(figure, chosen, looks):
                    written += _save(figure, folder / f"{name}_{kind}", formats)
    return written


Size = Callable[[Sequence[Point]], tuple[float, float]]


def _figures(protocol: EvalProtocol) -> list[tuple[str, Size, Draw]]:
    """Kind, size in inches and drawing of every figure in a protocol."""
    square: Size = lambda chosen: (4.6, 3.8)  # noqa: E731
    made: list[tuple[str, Size, Draw]] = [("difference", _bars_size, difference_figure)]
    if protocol.harmonic:
        made.append(("scatter", square, partial(_base_novel, *protocol.harmonic)))
    if protocol.layout == "shots":
        made.append(("curves", square, _curves))
    return [*made, ("cost", square, _cost), ("reliability", _small_size, _reliability)]


def _save(figure: "Figure", stem: Path, formats: Sequence[str]) -> list[Path]:
    paths = []
    for form in formats:
        path = stem.with_name(f"{stem.name}.{form}")
        with replacing(path) as temporary:
            figure.savefig(temporary, format=form, dpi=160, metadata={"Date": None} if form == "svg" else None)
        paths.append(path)
    return paths


def _looks(chosen: Sequence[Point]) -> Looks:
    """Colour, marker and line of every method; the baseline is grey."""
    looks: Looks = {BASELINE: {"color": BASE_COLOR, "marker": "o", "linestyle": "--"}}
    others = [label for label in dict.fromkeys(point.label for point in chosen) if label != BASELINE]
    for label, color, marker, line in zip(others, cycle(COLORS), cycle(MARKERS), cycle(DASHES), strict=False):
        looks[label] = {"color": color, "marker": marker, "linestyle": line}
    return looks


def _main(chosen: Sequence[Point]) -> list[Point]:
    """Points of the ranking measure: H if there is one, and the most shots if shots have their own columns."""
    measure = "H" if any(point.measure == "H" for point in chosen) else chosen[0].measure if chosen else ""
    most = max((point.shots or 0 for point in chosen), default=0)
    return [point for point in chosen if point.measure == measure and point.shots in (None, 0, most)]


def _compared(chosen: Sequence[Point]) -> tuple[list[str], list[str], dict[tuple[str, str], Point]]:
    """Places, methods beside the baseline, and all points by label and place."""
    by_key = {(point.label, point.place): point for point in _main(chosen)}
    places = [place for place in dict.fromkeys(place for _, place in by_key) if (BASELINE, place) in by_key]
    labels = [label for label in dict.fromkeys(label for label, _ in by_key) if label != BASELINE]
    return places, labels, by_key


def _bars_size(chosen: Sequence[Point]) -> tuple[float, float]:
    places, labels, _ = _compared(chosen)
    if len(labels) > MOST_BARS:
        return 2.2 + 0.55 * len(places), 1.5 + 0.24 * len(labels)
    return 7.2, 0.9 + len(places) * (0.14 * len(labels) + 0.14)


def difference_figure(figure: "Figure", chosen: Sequence[Point], looks: Looks) -> bool:
    """Draw every method less the baseline, place by place; return False if there is nothing to draw."""
    places, labels, by_key = _compared(chosen)
    if not places or not labels:
        return False
    if len(labels) > MOST_BARS:
        _difference_map(figure, places, labels, by_key)
        return True
    axes = figure.subplots()
    height = 0.8 / len(labels)
    for slot, label in enumerate(labels):
        for row, place in enumerate(places):
            point = by_key.get((label, place))
            if point is not None:
                value = point.mean - by_key[BASELINE, place].mean
                name = label if place == next(p for p in places if (label, p) in by_key) else None
                y = row - 0.4 + (slot + 0.5) * height
                axes.barh(y, value, height * 0.92, color=looks[label]["color"], xerr=point.std or None, label=name)
    axes.set_yticks(range(len(places)), places)
    axes.invert_yaxis()
    axes.axvline(0, color="#16202c", linewidth=1)
    axes.set_xlabel(f"difference from {BASELINE} in {_words(_main(chosen)[0])}, percentage points")
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper left", ncols=min(6, len(labels)))
    return True


def _difference_map(
    figure: "Figure", places: Sequence[str], labels: Sequence[str], by_key: Mapping[tuple[str, str], Point]
) -> None:
    """Draw a coloured cell per method and place, with its number, if bars would be too many."""
    axes = figure.subplots()
    grid = [
        [
            by_key[label, place].mean - by_key[BASELINE, place].mean if (label, place) in by_key else nan
            for place in places
        ]
        for label in labels
    ]
    most = max((abs(value) for row in grid for value in row if not isnan(value)), default=0) or 1
    axes.imshow(grid, cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
    for row, values in enumerate(grid):
        for column, value in enumerate(values):
            text = "–" if isnan(value) else f"{value:+.1f}"
            color = "white" if abs(value) > 0.6 * most else "#16202c"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(len(places)), places, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(visible=False)
    words = _words(next(iter(by_key.values())))
    axes.set_title(f"difference from {BASELINE} in {words}, percentage points", fontsize=9, loc="left")


def _base_novel(of_base: str, of_new: str, figure: "Figure", chosen: Sequence[Point], looks: Looks) -> bool:
    base = {point.label: point for point in chosen if point.place == AVERAGE and point.measure == of_base}
    new = {point.label: point for point in chosen if point.place == AVERAGE and point.measure == of_new}
    both = [label for label in base if label in new]
    if not both:
        return False
    axes = figure.subplots()
    for label in both:
        x, y, look = base[label], new[label], looks[label]
        axes.errorbar(x.mean, y.mean, y.std, x.std, fmt=look["marker"], color=look["color"], elinewidth=1)
        h = harmonic_mean(x.mean, y.mean)
        _name(axes, f"{label} (H {h:.1f})", x.mean, y.mean)
    axes.margins(0.18)
    axes.set(xlabel="base classes, %", ylabel="novel classes, %")
    return True


def _curves(figure: "Figure", chosen: Sequence[Point], looks: Looks) -> bool:
    average = [point for point in chosen if point.place == AVERAGE]
    lines = {
        label: sorted((p for p in average if p.label == label), key=lambda p: p.shots or 0)
        for label in dict.fromkeys(point.label for point in average)
    }
    if not any(point.shots for point in average):
        return False
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    shots = sorted({point.shots for point in average if point.shots})
    for label, own in lines.items():
        look = looks[label]
        if label == BASELINE:
            axes.axhline(own[0].mean, color=look["color"], linestyle=look["linestyle"], label=label)
            continue
        axes.errorbar(
            [p.shots or 0 for p in own], [p.mean for p in own], [p.std or 0 for p in own],
            marker=look["marker"], color=look["color"], linestyle=look["linestyle"], label=label, elinewidth=1,
        )  # fmt: skip
    axes.set_xticks(shots, [str(count) for count in shots])
    axes.minorticks_off()
    axes.set(xlabel="training images per class", ylabel=f"{average[0].metric} on average, %")
    figure.legend(loc="outside upper left", ncols=3)
    return True


def _cost(figure: "Figure", chosen: Sequence[Point], looks: Looks) -> bool:
    average = [point for point in _main(chosen) if point.place == AVERAGE]
    if not average:
        return False
    axes = figure.subplots()
    for point in average:
        look = looks[point.label]
        axes.errorbar(point.seconds, point.mean, point.std, fmt=look["marker"], color=look["color"], elinewidth=1)
        _name(axes, point.label, point.seconds, point.mean)
    axes.set_xscale("log")
    axes.margins(0.2)
    axes.set(xlabel="seconds of a run, training and tests", ylabel=f"{_words(average[0])} on average, %")
    return True


def _with_bins(chosen: Sequence[Point]) -> list[Point]:
    most = max((point.shots or 0 for point in chosen), default=0)
    here = [p for p in chosen if p.place == AVERAGE and p.bins and p.shots in (None, 0, most)]
    return [point for point in here if point.measure == here[0].measure]


def _small_size(chosen: Sequence[Point]) -> tuple[float, float]:
    count = len(_with_bins(chosen))
    return 7.2, 1.9 * ((count + 3) // 4) + 0.2


def _reliability(figure: "Figure", chosen: Sequence[Point], looks: Looks) -> bool:
    known = _with_bins(chosen)
    if not known:
        return False
    grid = figure.subplots((len(known) + 3) // 4, 4, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, point in zip(grid, known, strict=False):
        width = 100 / len(point.bins)
        for index, one in enumerate(point.bins):
            if one.images:
                color = looks[point.label]["color"]
                axes.bar((index + 0.5) * width, 100 * one.correct / one.images, width * 0.9, color=color)
        axes.plot([0, 100], [0, 100], color="#16202c", linestyle="--", linewidth=0.8)
        axes.set_title(point.label, fontsize=9, loc="left")
        axes.set(xlim=(0, 100), ylim=(0, 100))
    for axes in grid[len(known) :]:
        axes.set_axis_off()
    figure.supxlabel("confidence, %", fontsize=9)
    figure.supylabel("right, %", fontsize=9)
    return True


def _name(axes: "Axes", text: str, x: float, y: float) -> None:
    axes.annotate(text, (x, y), xytext=(7, 4), textcoords="offset points", fontsize=8)


def _words(point: Point) -> str:
    return point.measure if point.measure == "H" else point.metric

"""Plot the accuracy of DAS and its controls against the image tower's multiply-accumulates and its latency."""

from collections.abc import Callable, Sequence
from pathlib import Path

from adaptkit.artefacts.atomic_file import replacing
from trainers.studies.das.controls import NAME, ControlRow

FORMATS = ("png", "svg")
COLORS = {"das": "#0072b2", "greedy": "#d55e00", "last": "#00855f", "first": "#b0458a", "random": "#7b8794"}
MARKERS = {"das": "o", "greedy": "s", "last": "^", "first": "v", "random": "x"}


def draw_controls(rows: Sequence[ControlRow], folder: Path) -> list[Path]:
    """Draw the rows into a folder, as PNG and SVG, and return the paths of the files.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the plot needs matplotlib; install it with: pip install 'adaptkit-clip[report]'") from error
    test = list(rows[0].accuracy)[-1]
    costs: list[tuple[str, Callable[[ControlRow], float]]] = [
        ("image tower, MMACs per image", lambda row: row.image_macs / 1e6)
    ]
    if all(row.latency is not None for row in rows):
        costs += [
            ("latency of 1 image, ms", lambda row: _milliseconds(row, 0)),
            ("latency of 128 images, ms", lambda row: _milliseconds(row, 1)),
        ]
    figure = Figure((4.2 * len(costs), 3.6), layout="constrained")
    for axes, (label, cost) in zip(figure.subplots(1, len(costs), squeeze=False)[0], costs, strict=True):
        for row in rows:
            kind = next((name for name in COLORS if row.control.startswith(name)), "")
            axes.errorbar(
                cost(row),
                row.accuracy[test],
                yerr=row.std_over_seeds,
                color=COLORS.get(kind, "black"),
                marker=MARKERS.get(kind, "*"),
                linestyle="none",
                capsize=2,
                label=kind or row.control,
            )
        axes.set_xlabel(label)
        axes.set_ylabel(f"{test}, percent; bars: std over seeds" if axes is figure.axes[0] else "")
        axes.grid(alpha=0.3)
    handles = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels()), strict=True))
    figure.axes[0].legend(handles.values(), handles.keys(), fontsize="small")
    written = []
    for suffix in FORMATS:
        path = folder / f"{NAME}.{suffix}"
        with replacing(path) as temporary:
            figure.savefig(temporary, format=suffix, dpi=150)
        written.append(path)
    return written


def _milliseconds(row: ControlRow, batch: int) -> float:
    assert row.latency is not None
    return 1e3 * row.latency.seconds[batch]

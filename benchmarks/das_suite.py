"""Run DAS and its controls on the embedded suite, judge them against the goals, and fill in docs/das.md.

    python -m benchmarks.das_suite [--seeds 1,2,3] [--seeds-of-others 1] [--controls das,greedy,...] [--runs runs/das]
    python -m benchmarks.das_suite --distilled ...

Zero-shot CLIP with two of six image blocks skipped and an unchanged text tower: ten data sets, base to novel. The
eight other ways to choose blocks are trained with fewer seeds; DAS is compared with them on the seeds that both have.
With --distilled, stand-ins start from those distilled once for the embedded backbone, on images of its own
pre-training. Finished trainings are reused. The numbers go to benchmarks/results/das_suite.json or
das_suite_distilled.json, the plot and the table into docs/.
"""

import argparse
import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.timing import hardware
from datasets_fewshot.store.cache_folder import cache_folder
from trainers.config.overrides import words_as_settings
from trainers.studies.das.controls import CONTROLS, DAS, NAME, NO_SKIP, RANDOM, ControlRow, run_controls, table
from trainers.studies.das.plot import draw_controls

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "das.md"
SETTINGS = ("METHODS", "[zero_shot]", "DAS.SKIP_TEXT", "0", "DAS.ENCODER", "vision", "DEVICE", "cpu")
DISTILLED = ("DAS.INIT", "distilled", "DAS.STAND_INS", "adaptkit-mini", "OPTIM.LR", "0.001", "OPTIM.STEPS", "500")
SKIP = 2
MOST_LOSS = 1.0  # points of H that skipping may cost at most
SHARE_OF_MACS = 0.8  # the latency must fall by this share of the fall in multiply-accumulates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--seeds-of-others", default="1", help="of all but DAS and the tower with nothing skipped")
    parser.add_argument("--controls", default=",".join(CONTROLS), help="beside nothing skipped (default: all)")
    parser.add_argument("--distilled", action="store_true", help="start from the embedded backbone's stand-ins")
    parser.add_argument("--runs", type=Path, default=Path("runs/das"), help="where finished trainings are kept")
    args = parser.parse_args()
    words = [*SETTINGS, *(DISTILLED if args.distilled else ()), "SEEDS", f"[{args.seeds}]"]
    others = [int(seed) for seed in args.seeds_of_others.split(",")]
    names = args.controls.split(",")
    suffix = "_distilled" if args.distilled else ""
    rows = run_controls(None, words_as_settings(words), [SKIP], args.runs, cache_folder() / "features", others, names)
    goals = judged(rows)
    seeds = {"seeds": args.seeds, "seeds_of_others": args.seeds_of_others}
    content = {"hardware": hardware(), **seeds, "goals": goals, "rows": [asdict(row) for row in rows]}
    (RESULTS / f"das_suite{suffix}.json").write_text(json.dumps(content, indent=1) + "\n")
    draw_controls(rows, args.runs)
    for kind in ("png", "svg"):
        shutil.copy(args.runs / f"{NAME}.{kind}", ROOT / "docs" / f"das_controls{suffix}.{kind}")
    fill_page(rows, goals, suffix)
    print(json.dumps(goals, indent=1))


def judged(rows: Sequence[ControlRow]) -> dict[str, dict[str, float | bool]]:
    """Compare the goals with the measurements; differences of H are paired by data set and seed, in points."""
    by_name = {row.control: row for row in rows}
    das, none = by_name[f"das, {SKIP} skipped"], by_name[NO_SKIP]
    others = {kind: _mean_runs(rows, kind) for kind in (RANDOM, "greedy", "last", "first")}
    goals: dict[str, dict[str, float | bool]] = {}
    difference, error = paired(das.by_run, none.by_run)
    goals["das - no skip"] = {"difference": difference, "error": error, "met": difference >= -MOST_LOSS}
    for kind, runs in others.items():
        if not runs:
            continue
        difference, error = paired(das.by_run, runs)
        goals[f"das - {kind}"] = {"difference": difference, "error": error, "met": difference > 0}
    assert das.latency is not None
    macs = 1 - das.image_macs / das.image_macs_as_loaded
    for batch, (_, change) in zip((1, 128), das.latency.cells, strict=True):
        goals[f"latency of {batch}"] = {
            "fall_of_macs": 100 * macs,
            "fall": -change,
            "met": -change >= 100 * SHARE_OF_MACS * macs,
        }
    return goals


def _mean_runs(rows: Sequence[ControlRow], kind: str) -> dict[str, float]:
    """H of each data set and seed, the mean over the rows of a kind; empty if there are no such rows."""
    chosen = [row.by_run for row in rows if row.control.startswith(kind)]
    return {run: fmean(by_run[run] for by_run in chosen) for run in (chosen[0] if chosen else ())}


def paired(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[float, float]:
    """The mean difference over the keys that both have, and its standard error."""
    differences = [ours[run] - theirs[run] for run in ours if run in theirs]
    return fmean(differences), stdev(differences) / math.sqrt(len(differences))


def fill_page(rows: Sequence[ControlRow], goals: Mapping[str, Mapping[str, float | bool]], suffix: str) -> None:
    """Write the table and the goals between the page's markers."""
    lines = [table(rows), "| goal | measured | met |", "|---|---|---|"]
    for name, goal in goals.items():
        if "difference" in goal:
            at_least = f"at least -{MOST_LOSS:g}" if name == f"das - {NO_SKIP}" else "above 0"
            text = f"{goal['difference']:+.2f} ± {goal['error']:.2f} points of H"
            lines.append(f"| {name}: {at_least} | {text} | {'yes' if goal['met'] else 'no'} |")
        else:
            wanted = f"{name}: falls by {100 * SHARE_OF_MACS:.0f} % of the MACs' {goal['fall_of_macs']:.1f} %"
            lines.append(f"| {wanted} | {goal['fall']:.1f} % | {'yes' if goal['met'] else 'no'} |")
    datasets, seeds = datasets_and_seeds(rows[0])
    _, seeds_of_others = datasets_and_seeds(rows[-1])
    of_others = f", {seeds_of_others} for the other rows, which DAS is held against on that" if len(rows) > 2 else ""
    das = next(row for row in rows if row.control.startswith(DAS))
    chosen = "; ".join(f"{blocks} in {n}" for blocks, n in das.chosen.items())
    lines += [
        "",
        f"Mean of {datasets} data sets. Seeds {seeds} for DAS and for nothing skipped{of_others}; ± is one standard "
        "error over the differences.",
        "",
        f"Blocks that DAS chose, and in how many trainings: {chosen}.",
        "",
        f"![Accuracy against multiply-accumulates and latency](das_controls{suffix}.svg)",
    ]
    text = PAGE.read_text()
    mark = f"measured{suffix}"
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda match: f"{match[1]}\n" + "\n".join(lines) + f"\n\n{match[2]}", text))


def datasets_and_seeds(row: ControlRow) -> tuple[int, str]:
    """The number of data sets behind a row, and its seeds."""
    parts = [run.rsplit(", ", 1) for run in row.by_run]
    return len({dataset for dataset, _ in parts}), ", ".join(sorted({seed for _, seed in parts}))


if __name__ == "__main__":
    main()

"""Put measured results into README.md, between its markers; a number there comes from a file here and nowhere else.

adaptkit bench --out runs
python -m benchmarks.readme --runs runs

The bench's table is the file that `adaptkit bench` wrote, of which the README has the averages and notes, and the
figures are those of `adaptkit report --plots`; without --runs they are the ones that were taken over before.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from adaptkit import list_methods, method_class
from datasets_fewshot import MINI_DATASETS
from trainers.report.plots import draw_plots
from trainers.runs.records import ResultRecord, read_records

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = {
    "difference": "Difference from zero-shot in H, per data set and on average",
    "scatter": "Accuracy on base classes against novel classes, on average",
    "reliability": "Reliability on base classes, all data sets together",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Put measured results into README.md.")
    parser.add_argument("--runs", type=Path, help="take the table and figures over from this folder of runs")
    runs = parser.parse_args().runs
    if runs is not None:
        take_over(runs)
    sections = {
        "bench": bench_section(),
        "zero_shot": zero_shot_section(),
        "speed": speed_section(),
        "methods": methods_section(),
    }
    text = (ROOT / "README.md").read_text()
    for name, section in sections.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no markers <!-- {name} --> ... <!-- /{name} -->")
        text = pattern.sub(lambda match, body=section: f"{match[1]}\n{body.strip()}\n\n{match[2]}", text)
    (ROOT / "README.md").write_text(text)


def take_over(runs: Path) -> None:
    """Keep what `adaptkit bench` wrote into a folder of runs, how long that took, and the figures of its records."""
    for suffix in (".md", ".json"):
        shutil.copyfile(runs / f"base_to_novel{suffix}", RESULTS / f"base_to_novel{suffix}")
    records = [record for record in read_records(runs)[0] if record.protocol == "base_to_novel"]
    (RESULTS / "base_to_novel_time.json").write_text(json.dumps(time_taken(records), indent=1) + "\n")
    draw_plots(records, RESULTS / "plots", ("svg",))


def time_taken(records: Sequence[ResultRecord]) -> dict[str, object]:
    """From the start of the first run to the end of the last, as their records have it to the second."""
    ends = [datetime.fromisoformat(record.finished) for record in records]
    starts = [end - timedelta(seconds=sum(record.seconds.values())) for end, record in zip(ends, records, strict=True)]
    minutes = (max(ends) - min(starts)).total_seconds() / 60
    return {
        "runs": len(records),
        "minutes": round(minutes, 1),
        "cores": os.cpu_count(),
        "hardware": records[0].hardware,
    }


def bench_section() -> str:
    """The averages that `adaptkit bench` wrote, their notes folded away, and the figures of `adaptkit report`."""
    lines = (RESULTS / "base_to_novel.md").read_text().replace("### ", "#### ").splitlines()
    of_one_dataset = tuple(f"| {name} |" for name in MINI_DATASETS)
    notes = [line for line in lines if line.startswith("- ")]
    tables = [line for line in lines if line not in notes and not line.startswith(of_one_dataset)]
    took = json.loads((RESULTS / "base_to_novel_time.json").read_text())
    time = f"All {took['runs']} runs took {took['minutes']} minutes on {took['cores']} CPU cores."
    figures = [
        f"![{text}](benchmarks/results/plots/base_to_novel_{kind}.svg)"
        for kind, text in FIGURES.items()
        if (RESULTS / "plots" / f"base_to_novel_{kind}.svg").is_file()
    ]
    folded = ["<details><summary>What the numbers are, and which settings are not the papers'</summary>", ""]
    folded += [*notes, "", "</details>"]
    text = re.sub("\n{3,}", "\n\n", "\n".join(tables).strip())
    return "\n\n".join([time, text, *figures, "\n".join(folded)])


def zero_shot_section() -> str:
    result = json.loads((RESULTS / "mini_zero_shot.json").read_text())
    lines = ["| data set | classes | chance | zero-shot top-1 | test images |", "|---|---|---|---|---|"]
    for name, row in result["datasets"].items():
        cell = row["cells"]["single"]
        lines.append(
            f"| {name} | {row['classes']} | {100 / row['classes']:.1f} | "
            f"{cell['top1']:.1f} ± {cell['standard_error']:.1f} | {cell['count']} |"
        )
    mean = result["mean"]
    lines.append(
        f"| mean | | {mean['chance']:.1f} | {mean['single']:.1f} ± {mean['standard_error']:.1f} "
        f"({mean['times_chance']:.0f} times chance) | |"
    )
    return "\n".join(lines)


def speed_section() -> str:
    lines = ["| step | time, seconds | | GFLOP | | kept activations, MB | |", "|---|---|---|---|---|---|---|"]
    hardware = ""
    for path in (*sorted(RESULTS.glob("*_tower.json")), RESULTS / "methods.json"):
        result = json.loads(path.read_text())
        hardware = f"{result['hardware']['processor']}, {result['hardware']['threads']} threads, fp32"
        for row in result["comparisons"]:
            memory = f"{row['memory_ratio']:.1f}x" if row["memory_ratio"] else "–"
            lines.append(
                f"| {row['name']} | {row['plain_seconds']:.2f} → {row['fast_seconds']:.3f} | "
                f"**{row['time_ratio']:.1f}x** | {row['plain_gflop']:.0f} → {row['fast_gflop']:.1f} | "
                f"{row['flop_ratio']:.1f}x | {row['plain_kept_mb']:.0f} → {row['fast_kept_mb']:.0f} | {memory} |"
            )
    return "\n".join([*lines, "", f"Measured on {hardware}; oneDNN linears are for processors with AVX-512 alone."])


def methods_section() -> str:
    """One row per method: what it is, as its module's first line says, and what it trains on."""
    lines = ["| name | what is learnt | trains on |", "|---|---|---|"]
    for name in list_methods():
        doc = sys.modules[method_class(name).__module__].__doc__ or ""
        what = doc.strip().splitlines()[0].rstrip(".")
        lines.append(f"| `{name}` | {what} | {method_class(name).consumes} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

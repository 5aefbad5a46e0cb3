"""Put what is measured, and what the code says of itself, between the markers of README.md and of pages in docs/.

adaptkit bench --out runs
python -m benchmarks.readme --runs runs

A number there comes from a file in benchmarks/results/ and nowhere else. The bench's table is the file that
`adaptkit bench` wrote, and the figures are those of `adaptkit report --plots`; without --runs they are the ones that
were taken over before. The rows of methods come from the registry, and the ladder of folders from their docstrings.
"""

import argparse
import ast
import configparser
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from adaptkit import list_methods, method_class
from benchmarks.auto_page import choice_section
from benchmarks.backbones_page import names_section, reasons_section, totals_section
from benchmarks.conformal_page import coverage_section, error_section, ways_section
from benchmarks.main_job_page import choices_section, main_job_section
from benchmarks.replicas import table_section as replicas_section
from benchmarks.several_labels import table_section
from benchmarks.which_method_page import absent_section, ranking_section
from trainers.report.plots import draw_plots
from trainers.runs.records import ResultRecord, read_records

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
AVERAGE = "| average of "
PAGE_WIDTH = 92  # letters of a line of code
FIGURES = {
    "difference": "Difference from zero-shot in H, per data set and on average",
    "scatter": "Accuracy on base classes against novel classes, on average",
    "reliability": "Reliability on base classes, all data sets together",
}
Sections = Mapping[str, Callable[[], str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, help="take the table and figures over from this folder of runs")
    runs = parser.parse_args().runs
    if runs is not None:
        take_over(runs)
    for page in PAGES:
        (ROOT / page).write_text(refreshed(page))


def refreshed(page: str) -> str:
    """The text of a page with its sections as the files and the code are now."""
    return filled((ROOT / page).read_text(), PAGES[page], page)


def filled(text: str, sections: Sections, page: str) -> str:
    """The text with every section between its markers.

    Raises:
        ValueError: if a section has no markers.
    """
    for name, section in sections.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{page} has no markers <!-- {name} --> ... <!-- /{name} -->")
        text = f"{before}{start}\n{section().strip()}\n\n{end}{after}"
    return text


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


def bench_lines() -> list[str]:
    """The file that `adaptkit bench` wrote."""
    return (RESULTS / "base_to_novel.md").read_text().splitlines()


def time_section() -> str:
    took = json.loads((RESULTS / "base_to_novel_time.json").read_text())
    return f"All {took['runs']} runs took {took['minutes']} minutes on {took['cores']} CPU cores."


def averages_section() -> str:
    """A row per method: base, novel and H on average, without the columns that are the same in every row."""
    rows = [_cells(line) for line in bench_lines() if line.startswith(AVERAGE)]
    average, images = rows[0][0], rows[0][6]
    lines = ["| method | base | novel | H | seeds | s/run |", "|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join((row[1], *row[3:6], *row[7:])) + " |" for row in rows]
    caption = f"Accuracy in percent, {average} data sets, {images} test images of base and novel classes."
    return "\n".join([caption, "", *lines])


def differences_section() -> str:
    """What `adaptkit bench` printed below its table: differences from zero-shot, data sets of equal shots pooled."""
    lines = bench_lines()
    start = next(number for number, line in enumerate(lines) if line.startswith("### Difference"))
    return "\n".join(lines[start + 1 :])


def datasets_section() -> str:
    """The rows of single data sets."""
    lines = bench_lines()
    table = [line for line in lines[: lines.index("", 3)] if line.startswith("|") and not line.startswith(AVERAGE)]
    return "\n".join(table)


def notes_section() -> str:
    """What a reader of the numbers has to know: settings that are not the papers', and methods that are left out."""
    lines = bench_lines()
    end = next(number for number, line in enumerate(lines) if line.startswith("### Difference"))
    return "\n".join(line for line in lines[:end] if line.startswith("- "))


def figures_section() -> str:
    """The figures of `adaptkit report`, as docs/results.md names them."""
    figures = [
        f"![{text}](../benchmarks/results/plots/base_to_novel_{kind}.svg)"
        for kind, text in FIGURES.items()
        if (RESULTS / "plots" / f"base_to_novel_{kind}.svg").is_file()
    ]
    return "\n\n".join(figures)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


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


def retrieval_section() -> str:
    """One row per size of index and way to search it."""
    result = json.loads((RESULTS / "retrieval.json").read_text())
    rows, count = result["searches"], result["queries"]
    lines = [
        f"| rows | search | to open, s | one query, s | {count} queries, s | memory, MB | found |",
        "|---" * 7 + "|",
    ]
    for row in rows:
        more = row["resident_mb_at_the_most"] - row["resident_mb_at_the_beginning"]
        lines.append(
            f"| {row['rows']:,} | {row['way']} | {row['open_seconds']:.1f} | {row['query_seconds']:.4f} | "
            f"{row['queries_seconds']:.2f} | {more:,} | {row['found_percent']:.0f} % |"
        )
    largest = max((row for row in rows if row["way"] == "adaptkit, exact"), key=lambda row: row["rows"])
    most, limit = largest["resident_mb_at_the_most"], result["limit_mb"]
    before, hardware = rows[0]["resident_mb_at_the_beginning"], result["hardware"]
    verdict = "within" if most <= limit else "above"
    caption = (
        f"Random rows of width {result['dim']} in half precision, the nearest {result['top']}; each search in a "
        f"process of its own with {hardware['threads']} thread, on {hardware['processor']}. Memory is what a process "
        f"held at the most, beyond the {before:,} MB of loaded libraries. With these, the exact search of "
        f"{largest['rows']:,} rows held {most:,} MB, {verdict} the {limit:,} MB that it may have. What is found is "
        "counted against the exact search. Random rows have no neighbourhoods, so "
        f"{result['probes']} lists of faiss hold few of the nearest; "
        "features of images were not measured."
    )
    return "\n".join([*lines, "", *textwrap.wrap(caption, 120)])


def methods_section() -> str:
    """One row per method: what it is, as its module's first line says, and what it trains on."""
    lines = ["| name | what is learnt | trains on |", "|---|---|---|"]
    for name in list_methods():
        doc = sys.modules[method_class(name).__module__].__doc__ or ""
        what = doc.strip().splitlines()[0].rstrip(".")
        lines.append(f"| `{name}` | {what} | {method_class(name).consumes} |")
    return "\n".join(lines)


def peft_section() -> str:
    """One row per PEFT tuner and start: whether it works here, or why it is refused."""
    content = json.loads((RESULTS / "peft_tuners.json").read_text())
    lines = [f"PEFT {content['peft']}, on the embedded CLIP, with `q_proj` and `v_proj` as targets:", ""]
    lines += ["| `peft_type` | option | | starts at zero-shot | learnt numbers |", "|---|---|---|---|---|"]
    for row in content["outcomes"]:
        option = f"`{row['option']}`" if row["option"] else "–"
        near = "yes" if row["starts_at_zero_shot"] else "no"
        facts = "refused | | " if row["refused"] else f"works | {near} | {row['numbers']:,}"
        lines.append(f"| {row['tuner']} | {option} | {facts} |")
    refused = {
        row["tuner"] + (f" {row['option']}" if row["option"] else ""): row["refused"] for row in content["outcomes"]
    }
    reasons = [f"- **{name}**: {reason}." for name, reason in refused.items() if reason]
    return "\n".join([*lines, "", "Why the others are refused, in the words of the message:", "", *reasons])


def ladder(package: str) -> str:
    """The folders of a package as a drawing, from the top of its import contract down, each with its docstring."""
    rows = list(ladder_rows(package))
    start = max(len(name) for name, _ in rows) + 2
    lines: list[str] = []
    for name, text in rows:
        lines += textwrap.wrap(text, PAGE_WIDTH, initial_indent=f"{name:<{start}}", subsequent_indent=" " * start)
    return "\n".join(["```text", *lines, "```"])


def ladder_rows(package: str) -> Iterator[tuple[str, str]]:
    """Name, indented by its depth, and the first line of its `__init__`, of a package and of every folder in it."""
    yield f"{package}/", folder_doc(ROOT / package)
    for name in layers(package):
        for folder in (ROOT / package / name, *sorted((ROOT / package / name).rglob("*"))):
            if (folder / "__init__.py").is_file():
                depth = len(folder.relative_to(ROOT).parts) - 1
                yield f"{'    ' * depth}{folder.name}/", folder_doc(folder)


def layers(package: str) -> list[str]:
    """The layers of a package's import contract in setup.cfg, the top first."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    section = next(
        config[name]
        for name in config.sections()
        if name.startswith("importlinter:contract:") and config[name].get("containers", "").split() == [package]
    )
    return re.findall(r"\w+", section["layers"])


def folder_doc(folder: Path) -> str:
    """The first line of the docstring of a folder's `__init__`."""
    doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    return doc.partition("\n")[0]


PAGES: Mapping[str, Sections] = {
    "README.md": {"averages": averages_section},
    "docs/results.md": {
        "time": time_section,
        "averages": averages_section,
        "figures": figures_section,
        "differences": differences_section,
        "datasets": datasets_section,
        "notes": notes_section,
        "zero_shot": zero_shot_section,
    },
    "docs/several_labels.md": {"several_labels": table_section},
    "docs/speed.md": {"speed": speed_section, "replicas": replicas_section, "main_job": main_job_section},
    "docs/embedded_suite.md": {"choices": choices_section},
    "docs/auto.md": {"choice": choice_section},
    "docs/which_method.md": {"ranking": ranking_section, "absent": absent_section},
    "docs/how_sure.md": {"coverage": coverage_section, "ways": ways_section, "errors": error_section},
    "docs/retrieval.md": {"retrieval": retrieval_section},
    "docs/peft.md": {"peft_tuners": peft_section},
    "docs/methods.md": {"methods": methods_section},
    "docs/backbones.md": {"totals": totals_section, "names": names_section, "reasons": reasons_section},
    "docs/architecture.md": {name: partial(ladder, name) for name in ("adaptkit", "trainers", "datasets_fewshot")},
}

if __name__ == "__main__":
    main()

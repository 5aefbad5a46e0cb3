"""Measure what the seed papers' systems claim, and write the table of it.

    python -m benchmarks.seed_systems              # every system: benchmarks/results/seed_systems.json and the pages
    python -m benchmarks.seed_systems close gist   # these again; the others keep their results
    python -m benchmarks.seed_systems --pages      # the pages again, from the committed results

A module of this package with a function `measure() -> list[Finding]` is a system. Its results stand in
`docs/seed_systems.md`, and between the markers `<!-- measured -->` of its page, `docs/systems/NAME.md` or one of
`ELSEWHERE`.
"""

import argparse
import importlib
import json
import pkgutil
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch

import benchmarks.seed_systems
from adaptkit.artefacts.atomic_file import write_text
from benchmarks.readme import ROOT
from benchmarks.seed_systems.findings import Finding, Value

OUT = ROOT / "benchmarks" / "results" / "seed_systems.json"
PAGE = ROOT / "docs" / "seed_systems.md"
ELSEWHERE = {"diagnostics": "pair_tests.md"}  # systems whose page is a guide
NO_SYSTEMS = ("__main__", "findings", "pair_suite", "suite")
Results = dict[str, dict]
INTRODUCTION = """# What the seed papers' systems claim, and what was measured

`python -m benchmarks.seed_systems` measured every number on this page with the embedded model and data, which are
small, and wrote it from `benchmarks/results/seed_systems.json`. Numbers behind ± are standard errors. A claim that does
not carry over here may hold on the paper's data and backbones; that was not tested where the table does not say so. The
source "ours" marks what only our own adaptation claims."""


def systems() -> list[str]:
    """Names of the systems that have a module here."""
    found = [module.name for module in pkgutil.iter_modules(benchmarks.seed_systems.__path__)]
    return sorted(name for name in found if name not in NO_SYSTEMS)


def page_of(name: str) -> str:
    """The page of a system, below docs/."""
    return ELSEWHERE.get(name, f"systems/{name}.md")


def measured(name: str) -> dict:
    """The findings of one system, with the time that they took and the machine."""
    torch.manual_seed(0)
    start = time.perf_counter()
    findings: list[Finding] = importlib.import_module(f"benchmarks.seed_systems.{name}").measure()
    return {
        "findings": [asdict(finding) for finding in findings],
        "seconds": round(time.perf_counter() - start, 1),
        "hardware": f"{torch.get_num_threads()} CPU threads, {platform.machine()}",
        "torch": torch.__version__,
    }


def findings_of(result: Mapping) -> list[Finding]:
    """The findings that a result file holds of one system."""
    return [
        Finding(**{**finding, "values": tuple(Value(**value) for value in finding["values"])})
        for finding in result["findings"]
    ]


def table(findings: Sequence[Finding]) -> str:
    """The findings of one system as a Markdown table."""
    rows = ["| claim | measured | carries over? |", "|---|---|---|"]
    for finding in findings:
        numbers = "<br>".join(f"{value.what}: **{value.text}**" for value in finding.values)
        verdict = {"carries over": "yes", "in part": "in part", "does not": "no", "not tested": "not tested"}
        rows.append(
            f"| {finding.claim} ({finding.source}) | {numbers or '-'}<br>{finding.setting} | "
            f"**{verdict[finding.verdict]}**. {finding.why} |"
        )
    return "\n".join(rows)


def page(results: Results) -> str:
    """The page of all systems."""
    sections = [
        f"## [`{name}`]({page_of(name)})\n\n{table(findings_of(result))}" for name, result in sorted(results.items())
    ]
    counts: dict[str, int] = {}
    for result in results.values():
        for finding in result["findings"]:
            counts[finding["verdict"]] = counts.get(finding["verdict"], 0) + 1
    verdicts = ("carries over", "in part", "does not", "not tested")
    count = "Of {} claims, {} carry over, {} in part, {} do not, and {} could not be tested here."
    return (
        "\n\n".join(
            [
                INTRODUCTION,
                count.format(sum(counts.values()), *(counts.get(verdict, 0) for verdict in verdicts)),
                *sections,
            ]
        )
        + "\n"
    )


def with_table(text: str, findings: Sequence[Finding], place: str) -> str:
    """A system's page with its table between the markers."""
    opening, closing = "<!-- measured -->\n", "<!-- /measured -->"
    before, found, rest = text.partition(opening)
    _, also_found, after = rest.partition(closing)
    if not (found and also_found):
        raise ValueError(f"{place} has no markers {opening.strip()} and {closing}; add both where the table belongs")
    return f"{before}{opening}\n{table(findings)}\n\n{closing}{after}"


def write_pages(results: Results) -> None:
    """Write the page of all systems, and the tables of theirs."""
    write_text(PAGE, page(results))
    for name, result in results.items():
        own = PAGE.parent / page_of(name)
        if own.is_file():
            write_text(own, with_table(own.read_text(encoding="utf-8"), findings_of(result), str(own)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"any of {', '.join(systems())}; all if none")
    parser.add_argument("--pages", action="store_true", help="measure nothing and write the pages again")
    args = parser.parse_args(arguments)
    unknown = [name for name in args.systems if name not in systems()]
    if unknown:
        parser.error(f"unknown system {unknown[0]!r}; known: {', '.join(systems())}")
    results: Results = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
    results = {name: result for name, result in results.items() if name in systems()}
    if not args.pages:
        for name in args.systems or systems():
            results[name] = measured(name)
            print(f"{name}: {len(results[name]['findings'])} claims in {results[name]['seconds']} s", flush=True)
            write_text(OUT, json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    write_pages(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Before and after tuning on the embedded pairs, and what the papers' systems on pairs do: the tables of docs/pairs.md.

    python -m benchmarks.pairs [--methods clip_lora,adapter,coop] [--seeds 1,2,3]
    python -m benchmarks.pairs --systems   # the nine systems again, half an hour: results/seed_systems.json
    python -m benchmarks.pairs --pages     # the tables again, from the committed results

The first runs `adaptkit tune` as a user would, and writes benchmarks/results/pairs.json. Settings are the defaults of
the command, so nothing is chosen here; the place on the line of WiSE-FT is chosen by each run on its validation pairs
and on the guard's validation images. The systems are measured by `benchmarks.seed_systems`.
"""

import argparse
import json
import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import benchmarks.seed_systems.__main__ as seed_systems
from benchmarks.readme import ROOT
from benchmarks.seed_systems.findings import over
from benchmarks.timing import RESULTS, hardware
from trainers.cli import main as adaptkit

OUT = RESULTS / "pairs.json"
PAGE = ROOT / "docs" / "pairs.md"
WAYS = ("text_to_image", "image_to_text")
METHODS = ("clip_lora", "adapter", "coop")
SYSTEMS = (
    "ranking_heads",
    "svlc",
    "dreamlip",
    "modx",
    "xbt",
    "isa",
    "multimodal_linking",
    "locality_alignment",
    "villa",
)
VERDICTS = (("carries over", "yes"), ("in part", "in part"), ("does not", "no"), ("not tested", "not tested"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--systems", action="store_true", help="measure the papers' systems, and train nothing else")
    parser.add_argument("--pages", action="store_true", help="measure nothing and write the tables again")
    args = parser.parse_args()
    if args.systems:
        seed_systems.main(SYSTEMS)
    elif not args.pages:
        rows = [tuned(method, int(seed)) for method in args.methods.split(",") for seed in args.seeds.split(",")]
        content = {"what": "Before and after tuning on the embedded pairs", "hardware": hardware(), "rows": rows}
        OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def refreshed(text: str) -> str:
    """The page with the tables of the committed results between their markers."""
    rows = json.loads(OUT.read_text(encoding="utf-8"))["rows"]
    results = json.loads(seed_systems.OUT.read_text(encoding="utf-8"))
    for marker, content in (("measured", table(rows)), ("systems", systems_table(results))):
        pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
        text = pattern.sub(lambda match, new=content: f"{match[1]}\n{new}\n\n{match[2]}", text)  # type: ignore[misc]
    return text


def systems_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The first claim of each system with what was measured of it, and how many of all its claims carry over."""
    lines = ["| system | its first claim | measured | carries over? | of all its claims |", "|---|---|---|---|---|"]
    for name in SYSTEMS:
        findings = seed_systems.findings_of(results[name])
        first, verdicts = findings[0], [finding.verdict for finding in findings]
        numbers = "<br>".join(f"{value.what}: **{value.text}**" for value in first.values)
        counts = ", ".join(f"{verdicts.count(kind)} {word}" for kind, word in VERDICTS if kind in verdicts)
        verdict = dict(VERDICTS)[first.verdict]
        lines.append(f"| [`{name}`](systems/{name}.md) | {first.claim} | {numbers} | **{verdict}** | {counts} |")
    return "\n".join(lines)


def tuned(method: str, seed: int) -> dict[str, Any]:
    """One training with the command's defaults, and what its summary says."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["tune", method, "--pairs", "mini_pairs", "--out", f"{folder}/out", "--seed", str(seed)]
        if adaptkit([*words, "--device", "cpu"]):
            raise SystemExit(f"{' '.join(words)} failed")
        summary = json.loads((Path(folder) / "out" / "summary.json").read_text(encoding="utf-8"))
    kept = ("method", "objective", "seed", "before", "after", "guard", "guard_before", "guard_after", "alpha", "places")
    return {key: summary[key] for key in (*kept, "seconds")}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Changes by method, with standard errors over seeds."""
    before, guard = rows[0]["before"], rows[0]["guard"]
    recalls = [before[way]["recall"]["1"] for way in WAYS]
    lines = [
        f"Before: recall@1 of images by text {recalls[0]:.1f} % and of texts by image {recalls[1]:.1f} %, rsum "
        f"{before['rsum']:.1f}, zero-shot accuracy on {guard} {rows[0]['guard_before']:.1f} %. Changes over "
        f"{len({row['seed'] for row in rows})} seeds; ± is the standard error over seeds.",
        "",
        f"| method | images by text, recall@1 | texts by image, recall@1 | rsum | {guard} | alpha | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        changes = [
            over("", [row["after"][way]["recall"]["1"] - row["before"][way]["recall"]["1"] for row in own], "points")
            for way in WAYS
        ]
        changes.append(over("", [row["after"]["rsum"] - row["before"]["rsum"] for row in own], "points"))
        changes.append(over("", [row["guard_after"] - row["guard_before"] for row in own], "points"))
        cells = [f"{change.value:+.1f} ± {change.error or 0:.1f}" for change in changes]
        alphas = ", ".join(f"{row['alpha']:g}" for row in own)
        seconds = statistics.median(row["seconds"] for row in own)
        lines.append(f"| `{method}` | {' | '.join(cells)} | {alphas} | {seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

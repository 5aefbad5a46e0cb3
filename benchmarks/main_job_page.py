"""The sections of docs/speed.md and docs/embedded_suite.md on the main job, from what its scripts wrote."""

import json
from typing import Any

from benchmarks.timing import RESULTS

SHOWN = 8  # methods, those that take longest


def main_job_section() -> str:
    """How long the main job took, and which methods and phases it spent its time on."""
    result = json.loads((RESULTS / "main_job.json").read_text())
    until, tower, hardware = result["seconds_until"], result["image_tower"], result["hardware"]
    share = 100 * tower["least_seconds"] / tower["seconds"]
    command = result["what"].removesuffix(", from an empty cache")
    lines = [
        f"`{command}` did {result['runs']} runs in {result['minutes']:.1f} minutes on {hardware['cores']} cores "
        f"({hardware['processor']}), from an empty cache: the first run began after {until['first_run']:.0f} s, and "
        f"the first table was printed after {until['first_table']:.0f} s. Seconds of the workers:",
        "",
        "| method | encode | train | test | everything |",
        "|---|---|---|---|---|",
        _line("all", result["workers_seconds"]),
        *(_line(name, seconds) for name, seconds in list(result["methods"].items())[:SHOWN]),
        "",
        f"The {tower['runs']} runs that take images through the image tower in every step took {tower['seconds']:.0f} "
        f"s. Their {tower['passes']:,} passes of {tower['gflop_per_pass']} GFLOP would take "
        f"{tower['least_seconds']:.0f} s as one large matrix product ({tower['matmul_gflop_per_second']:.0f} GFLOP/s "
        f"on one thread), {share:.0f} % of that: most of what these methods cost is arithmetic.",
    ]
    return "\n".join(lines)


def _line(name: str, seconds: dict[str, Any]) -> str:
    total = sum(value for phase, value in seconds.items() if phase != "steps")
    cells = [name, *(f"{seconds.get(phase, 0):.0f}" for phase in ("encode", "train", "test")), f"{total:.0f}"]
    return f"| {' | '.join(cells)} |"


def choices_section() -> str:
    """Every method's rate for either number of shots, and what it gave on held-out images of base classes."""
    groups = json.loads((RESULTS / "tune_mini_suite.json").read_text())["groups"]
    lines = [f"| method |{'|'.join(f' {name}: rate | learnt | other | H ' for name in groups)}|"]
    lines.append("|---" * (1 + 4 * len(groups)) + "|")
    baseline = [_means("–", group["zero_shot"]["mean"]) for group in groups.values()]
    lines.append(f"| zero_shot | {' | '.join(baseline)} |")
    for method in next(iter(groups.values()))["methods"]:
        chosen = [group["methods"][method]["chosen"] for group in groups.values()]
        cells = [_means(f"{row['lr']:g}", row) for row in chosen]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _means(rate: str, row: dict[str, float]) -> str:
    return f"{rate} | {row['base']:.1f} | {row['new']:.1f} | {row['H']:.1f}"

"""The generated part of docs/auto.md, from benchmarks/results/auto_suite.json."""

import json
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from benchmarks.timing import RESULTS

BEST = 5  # rows of single methods


def choice_section() -> str:
    """What a search reached beside zero-shot and single methods, on average and by shots."""
    content: dict[str, Any] = json.loads((RESULTS / "auto_suite.json").read_text(encoding="utf-8"))
    cases, best = content["cases"], content["best_single_in_hindsight"]
    shots = sorted({case["shots"] for case in cases})
    groups = [cases, *([case for case in cases if case["shots"] == count] for count in shots)]
    heads = ["all", *(f"{count} shots" if count > 1 else "1 shot" for count in shots)]
    rows = [
        ("cases", [str(len(group)) for group in groups]),
        ("`auto`", _means(groups, lambda case: case["auto"])),
        ("zero-shot", _means(groups, lambda case: case["zero_shot"])),
        (f"{best}, the best single in hindsight", _means(groups, lambda case: case["alone"][best])),
    ]
    others = [label for label in content["singles"] if label != best][:BEST]
    rows += [(label, _means(groups, lambda case, label=label: case["alone"][label])) for label in others]
    rows.append(("the best of each case in hindsight", _means(groups, lambda case: max(case["alone"].values()))))
    asked = content["candidates"]
    compared = asked if isinstance(asked, str) else f"the methods {', '.join(asked)}"
    seeds = ", ".join(str(seed) for seed in sorted({case["seed"] for case in cases}))
    below = content["below_zero_shot_by_more_than_a_standard_error"]
    lines = [
        f"Mean test accuracy in percent on {', '.join(content['sets'])} as own data, seeds {seeds}, with "
        f"{content['backbone']} and a budget of {content['budget']}. Candidates: {compared}.",
        "",
        f"| | {' | '.join(heads)} |",
        "|---" * (1 + len(heads)) + "|",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows),
        "",
        f"Between `auto` and the best single method lie {content['gap_to_best_single']:+.1f} points. It was below "
        f"zero-shot by more than one standard error in {below} of {len(cases)} cases. A search took "
        f"{content['seconds_of_a_search']:.0f} seconds on average, on a machine that was busy with other work.",
    ]
    return "\n".join(lines)


def _means(groups: Iterable[Sequence[Any]], number: Any) -> list[str]:
    return [f"{fmean(number(case) for case in group):.1f}" for group in groups]

"""The verb `adaptkit doctor`: installed packages, usable devices, and missing packages by verb."""

import argparse
import sys

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `doctor` to a command's verbs."""
    parser = verbs.add_parser(
        "doctor",
        help="show versions, devices, plugins and caches, and what is missing for which verb",
        description="Show versions, devices, plugins and caches, and what is missing for which verb. The exit code is "
        "2 where a required package is missing or too old, or a plugin cannot be imported. `adaptkit data doctor` "
        "looks at data sets.",
    )
    parser.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from trainers.runs.checkup import checkup

    findings = checkup()
    for section, lines in findings.sections.items():
        print(section)
        print("".join(f"  {line}\n" for line in lines), end="")
    for problem in findings.problems:
        print(f"adaptkit: {problem}", file=sys.stderr)
    return 2 if findings.problems else OK

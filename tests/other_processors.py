"""The parity and end-to-end tests as other processors would run them: other kernels, other threads, another torch.

    python -m tests.other_processors [--quick] [--python PATH ...]

Which kernels sum a product, and in which order, depends on the processor. The libraries below torch can be told to take
those of other processors; each row of SETTINGS is a session of pytest that is told so. A test that passes in one row
and fails in another hangs on rounding. `--python` adds an interpreter of another environment, such as one with the
oldest torch that is supported; `--quick` runs parity and training by two processes only.

The table also has how near tests came to a tolerance of `torch.testing.assert_close`, and those that came nearest are
listed below it. Only tests count whose nearness differs between the rows: float64 parity lies near the recordings' own
rounding on every processor, and so cannot fail on another one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("tests/parity", "tests/e2e/test_together.py")
ALL = ("tests/parity", "tests/e2e")
NEAR = 0.5  # of a tolerance
MOVES = 0.001  # of a tolerance: what float64 does not


@dataclass(frozen=True)
class Setting:
    """Variables of the environment, and what a processor and a torch need for them to change anything."""

    variables: dict[str, str]
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.variables.items()) or "nothing set"


SETTINGS = (
    Setting({}),
    Setting({"ATEN_CPU_CAPABILITY": "default"}, ("AVX2",)),  # torch's own kernels without vectors
    Setting({"ATEN_CPU_CAPABILITY": "avx2"}, ("AVX512",)),
    Setting({"ONEDNN_MAX_CPU_ISA": "SSE41"}, ("AVX2", "oneDNN")),
    Setting({"ONEDNN_MAX_CPU_ISA": "AVX2"}, ("AVX512", "oneDNN")),
    Setting({"MKL_CBWR": "COMPATIBLE"}, ("MKL",)),  # matrix products as on processors without AVX
    Setting({"MKL_CBWR": "AVX2"}, ("AVX2", "MKL")),
    Setting({"ADAPTKIT_TEST_THREADS": "2"}),
)

PROBE = """
import json, torch
level = torch.backends.cpu.get_cpu_capability()
has = ["AVX2"] * level.startswith("AVX") + ["AVX512"] * level.startswith("AVX512")
has += ["MKL"] * torch.backends.mkl.is_available() + ["oneDNN"] * torch.backends.mkldnn.is_available()
print(json.dumps([torch.__version__, has]))
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one setting in one interpreter."""

    torch: str
    setting: str
    skipped: str = ""  # why it was not run
    counts: Counter[str] = field(default_factory=Counter)
    failed: tuple[str, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)  # test -> of its tolerance
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return bool(self.skipped) or (self.counts["passed"] > 0 and not self.failed)

    @property
    def row(self) -> str:
        return f"torch {self.torch}, {self.setting}"

    def line(self) -> str:
        """Without the names of the tests."""
        if self.skipped:
            return f"skipped: {self.skipped}"
        told = ", ".join(f"{self.counts[kind]} {kind}" for kind in ("passed", "failed", "skipped") if self.counts[kind])
        return f"{told or 'no test ran'} in {self.seconds:.0f} s"


def run(python: str, torch: str, has: Sequence[str], setting: Setting, paths: Sequence[str]) -> Outcome:
    """One session of pytest."""
    lacks = [need for need in setting.needs if need not in has]
    if lacks:
        return Outcome(torch, setting.name, f"without {' and '.join(lacks)} it changes nothing")
    variables = {name: value for name, value in os.environ.items() if name not in every_variable()}
    with tempfile.TemporaryDirectory() as folder:
        found, started = Path(folder) / "closeness.json", time.monotonic()
        command = [python, "-m", "pytest", "-p", "no:xdist", "-p", "tests.helpers.closeness", "--closeness", str(found)]
        session = subprocess.run(
            [*command, "--tb=no", "--no-header", "-W", "ignore", *paths],
            cwd=ROOT,
            env=variables | setting.variables | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        seconds = time.monotonic() - started
        if not found.exists():
            return Outcome(torch, setting.name, failed=(f"pytest ended early: {session.stderr[-500:]}",))
        told = json.loads(found.read_text())
    outcomes: dict[str, str] = told["outcomes"]
    failed = tuple(test for test, outcome in outcomes.items() if outcome == "failed")
    return Outcome(torch, setting.name, "", Counter(outcomes.values()), failed, told["shares"], seconds)


def every_variable() -> set[str]:
    return {name for setting in SETTINGS for name in setting.variables}


def probe(python: str) -> tuple[str, list[str]]:
    """torch's version there, and what the processor and this torch have of what settings need."""
    variables = {name: value for name, value in os.environ.items() if name not in every_variable()}
    answer = subprocess.run([python, "-c", PROBE], env=variables, capture_output=True, text=True, check=True)
    version, has = json.loads(answer.stdout)
    return version, has


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.other_processors", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK)}")
    parser.add_argument("--python", action="append", default=[], metavar="PATH", help="another interpreter, repeatable")
    args = parser.parse_args(words)
    outcomes = []
    for python in (sys.executable, *args.python):
        version, has = probe(python)
        for setting in SETTINGS:
            outcome = run(python, version, has, setting, QUICK if args.quick else ALL)
            outcomes.append(outcome)
            print(f"{outcome.row}: {outcome.line()}", flush=True)
            for test in outcome.failed:
                print(f"    failed: {test}", flush=True)
    print(f"\n{table(outcomes)}\n\n{list_near(outcomes)}")
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def moving(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Test -> row -> share of its tolerance, of the tests whose share is not the same in all rows."""
    shares: dict[str, dict[str, float]] = {}
    for outcome in outcomes:
        for test, share in outcome.shares.items():
            shares.setdefault(test, {})[outcome.row] = share
    return {test: by_row for test, by_row in shares.items() if max(by_row.values()) - min(by_row.values()) > MOVES}


def table(outcomes: Sequence[Outcome]) -> str:
    """In Markdown."""
    lines = ["| torch | setting | passed | failed | nearest to a tolerance |", "| --- | --- | ---: | ---: | ---: |"]
    shares = moving(outcomes)
    for outcome in outcomes:
        nearest = max((by_row.get(outcome.row, 0.0) for by_row in shares.values()), default=0.0)
        numbers = f"{outcome.counts['passed']} | {len(outcome.failed)} | {nearest:.2f}"
        numbers = "skipped | | " if outcome.skipped else numbers
        lines.append(f"| {outcome.torch} | {outcome.setting} | {numbers} |")
    return "\n".join(lines)


def list_near(outcomes: Sequence[Outcome]) -> str:
    """Tests that came near a tolerance in any row, the nearest first."""
    near = []
    for test, by_row in moving(outcomes).items():
        row = max(by_row, key=lambda row: by_row[row])
        if by_row[row] >= NEAR:
            near.append((by_row[row], f"{by_row[row]:.2f} of its tolerance: {test} ({row})"))
    if not near:
        return f"no test came within {NEAR} of a tolerance"
    return "\n".join(line for _, line in sorted(near, reverse=True))


if __name__ == "__main__":
    sys.exit(main())

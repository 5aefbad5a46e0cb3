"""The page on security names tests that exist and limits that hold."""

import json
import re
from pathlib import Path

import pytest

from trainers.serving import limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
TESTS = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)
LIMITS = re.findall(r"^\| (`[A-Z_`, ]+`): .*\| ([\d,. ]+) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("file", "name"), TESTS, ids=[name for _, name in TESTS])
def test_a_test_that_a_promise_names_exists(file, name):
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_promise_names_a_test():
    promises = [line for line in PAGE.splitlines() if line.startswith("| ") and "`tests/" in line]
    assert len(promises) == len(TESTS) >= 25
    for table in PAGE.split("| promise | test |")[1:]:
        rows = table.split("\n\n")[0].splitlines()[2:]
        assert all("`tests/" in row for row in rows)


def test_the_limits_of_the_server_are_those_of_its_code():
    assert LIMITS
    for names, values in LIMITS:
        said = [float(value.replace(",", "")) for value in values.split(", ")]
        assert said == [getattr(limits, name) for name in re.findall(r"\w+", names)]


def test_the_soak_did_what_the_page_says():
    soak = json.loads((ROOT / "benchmarks" / "results" / "soak.json").read_text(encoding="utf-8"))
    assert soak["requests"] >= 10_000
    assert abs(soak["growth_percent"]) < 5
    assert soak["traces_on_stderr"] == 0
    assert soak["memory_mb_at_the_most"] < 1500
    for key in ("memory_mb_at_the_beginning", "memory_mb_at_the_end", "memory_mb_at_the_most"):
        assert f"{soak[key]:,.0f} MB" in PAGE

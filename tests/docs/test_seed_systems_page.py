"""The table of the seed papers' systems says what its result file says, on the page of all and on the page of each."""

import json

import pytest

from benchmarks.seed_systems.__main__ import OUT, PAGE, findings_of, page, page_of, systems, with_table
from benchmarks.seed_systems.findings import Value, difference, over, share


def results() -> dict:
    return json.loads(OUT.read_text(encoding="utf-8"))


def test_every_system_is_measured_and_has_a_page():
    assert sorted(results()) == systems()
    assert [name for name in systems() if not (PAGE.parent / page_of(name)).is_file()] == []


def test_the_pages_say_what_the_result_file_says():
    assert PAGE.read_text(encoding="utf-8") == page(results()), "python -m benchmarks.seed_systems --pages"
    for name, result in results().items():
        text = (PAGE.parent / page_of(name)).read_text(encoding="utf-8")
        assert text == with_table(text, findings_of(result), name), "python -m benchmarks.seed_systems --pages"


def test_a_claim_that_does_not_carry_over_is_shown_as_such():
    for name, result in results().items():
        for finding in findings_of(result):
            assert all((finding.why, finding.setting, finding.source)), name
            assert finding.values or finding.verdict == "not tested", name


def test_a_page_without_markers_is_refused_by_name():
    with pytest.raises(ValueError, match=r"a\.md has no markers"):
        with_table("no markers", [], "a.md")


def test_numbers_carry_their_standard_errors():
    assert over("accuracy", [60.0, 62.0]).text == "61.0 ± 1.0 %"
    assert over("accuracy", [60.0]).error is None
    assert difference("gain", [61.0, 63.0], [60.0, 62.0]).text == "1.0 ± 0.0 points"
    assert share("right", [1, 1, 0, 0]).text == "50.0 ± 25.0 %"
    assert Value("overlap", 0.5, unit="").text == "0.500"

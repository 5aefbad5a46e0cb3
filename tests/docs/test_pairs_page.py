"""The tables of docs/pairs.md are those of the committed results."""

from benchmarks.pairs import PAGE, refreshed


def test_the_page_has_the_numbers_of_the_result_files():
    text = PAGE.read_text(encoding="utf-8")
    assert "<!-- systems -->" in text
    assert refreshed(text) == text

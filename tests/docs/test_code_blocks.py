"""Every code block of README.md, its neighbours and docs/ runs as it stands, page by page, in a folder with photos.

A comment right above a block may say `<!-- parsed only: why -->`, and its `adaptkit` commands are held against the
command line's parser, or `<!-- not run: why -->`. There is no other way around.
"""

from pathlib import Path

import pytest

from tests.docs.pages import blocks_of, commands_of, run_page

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def cases():
    """Every page. Those of the systems are slow: their commands have e2e tests."""
    for page in PAGES:
        later = pytest.mark.slow if page.parent.name == "systems" else ()
        yield pytest.param(page, id=str(page.relative_to(ROOT)), marks=later)


@pytest.mark.parametrize("page", list(cases()))
def test_every_code_block_runs(page, world):
    run_page(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)), world)


def test_a_fence_is_found_whatever_it_holds():
    text = "<!-- not run: because -->\n```python\nx\n```\n\n```bash\nadaptkit a \\\n  --b && adaptkit c  # d\n```\n"
    first, second = blocks_of(text)
    assert (first.mark, first.language, first.code, first.line) == ("not run", "python", "x\n", 3)
    assert commands_of(second.code) == [["adaptkit", "a", "--b"], ["adaptkit", "c"]]


def test_no_fence_is_overlooked():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("\n```") == 2 * len(blocks_of(text)), page

"""What stands between the markers of README.md and of docs/ is what the files and the code say now."""

import json

import pytest

from adaptkit import list_methods
from adaptkit.layers.context import prompt_tokens
from adaptkit.towers.token_tree import build_tree
from benchmarks.readme import PAGES, ROOT, filled, ladder_rows, layers, refreshed
from tests.helpers.models import build

PACKAGES = ("adaptkit", "trainers", "datasets_fewshot")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_the_files_and_the_code_say(page):
    assert (ROOT / page).read_text(encoding="utf-8") == refreshed(page), "python -m benchmarks.readme writes it again"


def test_a_section_without_its_markers_is_refused_by_page_and_name():
    with pytest.raises(ValueError, match=r"a\.md has no markers <!-- speed -->"):
        filled("<!-- speed -->\nnothing closes it", {"speed": str}, "a.md")


def test_only_what_stands_between_the_markers_changes():
    text = "before\n<!-- a -->\nold\n<!-- /a -->\nafter"
    new = filled(text, {"a": lambda: "new \\1"}, "a.md")
    assert new == "before\n<!-- a -->\n\nnew \\1\n\n<!-- /a -->\nafter"
    assert filled(new, {"a": lambda: "new \\1"}, "a.md") == new


def test_the_readme_is_short_and_has_one_picture_and_one_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert text.count("![") == text.count("\n|---") == 1


def test_every_method_has_a_row():
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert [name for name in list_methods() if f"\n| `{name}` |" not in text] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_is_on_the_page_of_folders_and_says_what_it_is_for(package):
    rows = [(name.strip(), text) for name, text in ladder_rows(package)]
    folders = [init.parent for init in (ROOT / package).rglob("__init__.py")]
    assert sorted(name for name, _ in rows) == sorted(f"{folder.name}/" for folder in folders)
    assert [name for name, text in rows if not text] == []


def test_the_ladder_is_drawn_from_the_top_of_the_contract():
    assert layers("datasets_fewshot")[0] == "upkeep"
    assert layers("datasets_fewshot")[-1] == "store"


def test_the_table_of_averages_is_what_the_bench_wrote():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    written = (ROOT / "benchmarks" / "results" / "base_to_novel.md").read_text(encoding="utf-8")
    averages = [line.split(" | ") for line in written.splitlines() if line.startswith("| average of ")]
    assert len(averages) > 10
    for cells in averages:
        assert f"| {cells[1]} | {cells[3]} | {cells[4]} | {cells[5]} |" in text
    runs = json.loads((ROOT / "benchmarks" / "results" / "base_to_novel_time.json").read_text(encoding="utf-8"))["runs"]
    assert f"All {runs} runs" in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_tree_of_imagenet_has_the_tokens_that_its_page_names():
    listed = (ROOT / "datasets_fewshot" / "data" / "imagenet_classnames.txt").read_text(encoding="utf-8").splitlines()
    names = [line.partition(" ")[2] for line in listed]
    tree = build_tree(prompt_tokens(build("clip_vit"), names, 16, "end", class_specific=False))
    page = (ROOT / "docs" / "concepts" / "token_tree.md").read_text(encoding="utf-8")
    assert f"{len(names) * 77:,} positions become {tree.n_tokens:,}" in " ".join(page.split())

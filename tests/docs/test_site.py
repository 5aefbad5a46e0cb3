"""The site is built without a warning, and what is generated says what the code says."""

import dataclasses
import html
import importlib.util
import inspect
import json
import logging
import re
import sys
import types
from pathlib import Path

import pytest

from adaptkit import list_methods, list_wrappers, method_class, method_config, wrapper_config
from tests.docs.pages import run_page

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")
pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: pip install '.[docs]'")
ROOT = Path(__file__).parents[2]


def site_pages() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))  # as mkdocs does for a hook
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return site_pages().generated_pages()


def test_every_method_and_wrapper_has_a_page_with_all_its_options(generated):
    kinds = (("methods", list_methods(), method_config), ("wrappers", list_wrappers(), wrapper_config))
    for folder, names, config in kinds:
        for name in names:
            text = generated[f"{folder}/{name}.md"]
            missing = [f.name for f in dataclasses.fields(config(name)) if f"| `{f.name}` |" not in text]
            assert not missing, name


def test_an_option_is_explained_by_what_it_declares(generated):
    assert "| `n_ctx` | `16` | a whole number, 1 or more | Learnt tokens. |" in generated["methods/coop.md"]
    assert "Share of the adapted image feature." in generated["methods/clip_adapter.md"]


def test_stored_results_stand_on_a_method_s_page(generated):
    written = (ROOT / "benchmarks" / "results" / "base_to_novel.json").read_text(encoding="utf-8")
    runs = [run for run in json.loads(written)["runs"] if run["label"] == "coop"]
    assert len({run["dataset"] for run in runs}) == 10
    for run in runs:
        seeds = sum(other["dataset"] == run["dataset"] for other in runs)
        assert f"| {run['dataset']} | {run['shots']} | {seeds} |" in generated["methods/coop.md"]


def test_a_docstring_becomes_prose_equations_and_departures():
    doc = """
Au et al., "A_B", arXiv:1234.56789. With `f_p` and f_q:
    L = |f_q - f_p|  <=  1
trained by L alone.

Departure: like the released code, L is
    halved.
Departure (ours): no f_p.
"""
    assert site_pages().docstring_as_markdown(doc) == [
        'Au et al., "A\\_B", [arXiv:1234.56789](https://arxiv.org/abs/1234.56789). With `f_p` and f\\_q:',
        "",
        '<pre class="equation"><code>L = |f_q - f_p|  &lt;=  1</code></pre>',
        "",
        "trained by L alone.",
        "",
        "### Where it departs from the paper",
        "",
        "- Like the released code, L is halved.",
        "- Ours alone: no f\\_p.",
        "",
    ]


@pytest.mark.parametrize("name", list_methods())
def test_no_line_of_a_method_s_docstring_is_lost(name, generated):
    doc = inspect.cleandoc(sys.modules[method_class(name).__module__].__doc__ or "")
    words = re.findall(r"\w{3,}", doc.replace("Departure", ""))
    page = html.unescape(generated[f"methods/{name}.md"]).replace("\\", "")
    assert [word for word in words if word not in page and word.capitalize() not in page] == []


def test_the_navigation_has_every_method_once_below_where_it_touches_clip():
    grouped = site_pages().methods_by_place()
    assert sorted(name for pages in grouped.values() for page in pages for name in page) == list_methods()
    assert {"coop": "methods/coop.md"} in grouped["Before the towers: prompts"]
    assert {"clip_lora": "methods/clip_lora.md"} in grouped["Inside the towers: weights"]


@pytest.mark.parametrize("name", list_methods())
def test_the_lines_on_a_method_s_page_run(name, generated, world):
    run_page(generated[f"methods/{name}.md"], f"methods/{name}.md", world)


def test_the_site_is_built_without_a_warning(tmp_path, caplog):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    with caplog.at_level(logging.WARNING, logger="mkdocs"):
        build(config)  # strict: a warning is an error
    config.plugins.on_shutdown()
    page = (tmp_path / "methods" / "maple.html").read_text(encoding="utf-8")
    assert "arXiv:2210.03117" in page
    assert '<pre class="equation">' in page
    assert (tmp_path / "plots" / "base_to_novel_difference.svg").is_file()
    assert 'src="plots/base_to_novel_difference.svg"' in (tmp_path / "results.html").read_text(encoding="utf-8")
    assert "fonts.googleapis" not in (tmp_path / "index.html").read_text(encoding="utf-8")

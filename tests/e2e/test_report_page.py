"""The page in a real browser: no network, no complaint, and everything that can be pressed does what it says."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.decisions import EVIL, write_adapter, write_suggestions
from tests.helpers.records import make_record
from trainers.report.decision.reading import read_decision
from trainers.report.page import page

CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip


def records():
    made = []
    for dataset, base in (("cats", 60.0), ("dogs", 80.0)):
        made.append(make_record(dataset=dataset, method="zero_shot", seed=0, shots=0, base=base, new=base, total=100))
        for seed in (1, 2):
            made.append(make_record(dataset=dataset, seed=seed, base=base + 5 * seed, new=base - 5, total=100))
    for shots in (1, 4):
        made.append(make_record(dataset="cats", protocol="few_shot", shots=shots, base=50.0 + shots, total=100))
    return made


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the page's test needs: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("the page's test needs a browser: apt-get install chromium, or name one in $CHROMIUM")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page(records()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def file_of_adapters(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    decisions = [read_decision(write_adapter(folder / "mine")), read_decision(write_suggestions(folder / "lists"))]
    (folder / "page.html").write_text(page(records(), decisions), encoding="utf-8")
    return folder / "page.html"


@contextmanager
def shown_from(browser, file):
    """A page, opened as a file. At the end nothing was asked for and nothing was complained about."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    shown, trouble = context.new_page(), []
    shown.on("console", lambda message: trouble.append(message.text))
    shown.on("pageerror", lambda error: trouble.append(str(error)))
    shown.on("request", lambda request: request.url == file.as_uri() or trouble.append(request.url[:80]))
    shown.goto(file.as_uri())
    yield shown
    context.close()
    assert [line for line in trouble if not line.startswith("data:")] == []


@pytest.fixture
def opened(browser, file):
    with shown_from(browser, file) as shown:
        yield shown


def single_data_sets(shown):
    return shown.get_by_role("region", name="Data set by data set")


def column(shown, name):
    table = single_data_sets(shown).locator("table")
    index = table.locator("thead th").all_inner_texts().index(name)
    return [row.locator("td").nth(index).inner_text() for row in table.locator("tbody tr").all()]


def test_a_column_sorts_down_then_up_then_not_at_all(opened):
    first = column(opened, "base")
    head = single_data_sets(opened).get_by_role("columnheader", name="base")
    button = head.get_by_role("button")
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(text.split(" ")[0]) for text in column(opened, "base")]
    assert values == sorted(values, reverse=True)
    button.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    button.press("Enter")
    assert head.get_attribute("aria-sort") == "none"
    assert column(opened, "base") == first


def test_averages_and_figures_stand_before_the_rows_of_single_data_sets(opened):
    first = opened.locator("main table").first.locator("tbody tr td:first-child")
    assert set(first.all_inner_texts()) == {"average of 2"}
    text = opened.locator("main").inner_text()
    places = [text.index(words) for words in ("average of 2", "Figures", "Data set by data set", "Runs\n")]
    assert places == sorted(places)


def test_a_method_is_switched_off_and_on_again_in_the_figures(opened):
    toggle = opened.get_by_role("button", name="coop", exact=True).and_(opened.locator("[aria-pressed]"))
    marks = opened.locator("figure svg [role=button]")
    before = marks.count()
    toggle.click()
    assert toggle.get_attribute("aria-pressed") == "false"
    assert marks.count() < before
    assert "Nothing to compare" in opened.locator(".figures").inner_text()
    toggle.click()
    assert marks.count() == before


def test_a_number_opens_its_runs_a_run_its_record_and_escape_closes_it(opened):
    opened.get_by_role("button", name="coop on cats: show 2 runs").click()
    dialog = opened.get_by_role("dialog")
    assert dialog.locator("tbody tr").count() == 2
    dialog.locator("tbody button").first.click()
    text = dialog.inner_text()
    assert "65 of 100 images; 95 % interval" in text
    assert "expected error" in text
    dialog.get_by_role("button", name="Back").click()
    assert dialog.locator("tbody tr").count() == 2
    opened.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_a_mark_opens_its_runs_from_the_keyboard(opened):
    opened.locator("figure svg [role=button]").first.focus()
    assert "points from zero_shot" in opened.locator("#tip").inner_text()
    opened.keyboard.press("Enter")
    assert opened.get_by_role("dialog").is_visible()


def test_arrow_keys_move_between_protocols(opened):
    opened.get_by_role("tab").first.focus()
    opened.keyboard.press("ArrowRight")
    assert opened.get_by_role("tab", name="Few shot").get_attribute("aria-selected") == "true"
    assert "Few-shot curves" in opened.locator("main").inner_text()
    assert "No zero-shot run" in opened.locator("main").inner_text()


def test_the_theme_follows_the_system_until_one_is_chosen(browser, file, opened):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = opened.evaluate(ground)
    opened.emulate_media(color_scheme="dark")
    dark = opened.evaluate(ground)
    assert dark != light
    opened.get_by_role("button", name="Use the light theme").click()
    assert opened.evaluate(ground) == light
    opened.reload()
    assert opened.evaluate(ground) == light


def test_runs_are_filtered_by_words(opened):
    opened.get_by_role("searchbox").fill("coop seed1")
    assert opened.locator("section.runs tbody tr").count() == 2
    opened.get_by_role("searchbox").fill("nothing like it")
    assert "No run matches" in opened.locator("section.runs").inner_text()


def test_a_phone_scrolls_down_and_never_sideways(opened):
    opened.set_viewport_size({"width": 360, "height": 740})
    for tab in opened.get_by_role("tab").all():
        tab.click()
        assert opened.evaluate("document.documentElement.scrollWidth") == 360


def test_each_adapter_has_a_tab_before_those_of_the_protocols(browser, file_of_adapters):
    with shown_from(browser, file_of_adapters) as shown:
        assert [tab.inner_text().split("\n")[0] for tab in shown.get_by_role("tab").all()][:2] == ["mine", "lists"]
        text = shown.locator("main").inner_text()
        for said in ("How it was chosen", "How sure it is", "What your texts gave", EVIL):
            assert said in text, said
        assert shown.locator("main figure svg circle").count() == 2
        assert shown.locator("main img").evaluate("image => image.naturalWidth") == 4
        shown.get_by_role("tab", name="lists").click()
        assert "Labels to check" in shown.locator("main").inner_text()
        shown.get_by_role("tab", name="Few shot").click()
        assert "Few-shot curves" in shown.locator("main").inner_text()
        shown.set_viewport_size({"width": 360, "height": 740})
        shown.get_by_role("tab", name="mine").click()
        assert shown.evaluate("document.documentElement.scrollWidth") == 360

"""`adaptkit serve` in a real browser: an image is dropped, names are typed, probabilities appear."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

import adaptkit
from tests.helpers.calibrated import calibrated
from tests.helpers.decisions import EVIL, leaderboard

CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
SECONDS_TO_START = 120


@pytest.fixture(scope="module")
def browser():
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason=f"{package} is not installed: the [serve] extra")
    playwright = pytest.importorskip("playwright.sync_api", reason="the page's test needs: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("the page's test needs a browser: apt-get install chromium, or name one in $CHROMIUM")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory):
    """The real command, serving a calibrated zero-shot on three classes with a leaderboard beside it."""
    folder = tmp_path_factory.mktemp("adapter")
    backbone = adaptkit.load_backbone("adaptkit-mini")
    method = adaptkit.create_method("zero_shot", backbone, ["red apple", "blue car", "cat"])
    calibrated(method).save_pretrained(folder)
    (folder / "leaderboard.json").write_text(json.dumps(leaderboard("zero_shot").to_json()), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "trainers", "serve", str(folder), "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        for _ in range(SECONDS_TO_START * 2):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/adapter").close()
                break
            except urllib.error.URLError:
                assert server.poll() is None, server.stderr and server.stderr.read().decode()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def shown(browser, address):
    """The page, opened. At the end nothing was asked of anybody else and nothing was complained about."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, trouble = context.new_page(), []
    page.on("console", lambda message: message.type == "error" and trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "request", lambda request: request.url.startswith((address, "blob:", "data:")) or trouble.append(request.url)
    )
    page.goto(address)
    page.get_by_text("zero_shot on adaptkit-mini, 3 classes of its own").wait_for()
    yield page
    context.close()
    assert [line for line in trouble if "status of 4" not in line] == []


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)).save(path)
    return path


def labels(page):
    page.locator("#result:not(.busy)").wait_for()
    return [row.inner_text().split("\n")[0] for row in page.locator("#result li").all()]


def test_a_chosen_image_is_classified_among_the_adapters_names(shown, photo):
    shown.set_input_files("#file", photo)
    shown.locator("#result li").first.wait_for()
    assert set(labels(shown)) == {"red apple", "blue car", "cat"}
    values = [float(text.split()[0]) for text in shown.locator(".value").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(100, abs=0.3)


def test_names_that_are_typed_take_their_place_and_go_again(shown, photo):
    shown.set_input_files("#file", photo)
    shown.locator("#result li").first.wait_for()
    shown.fill("#names", "violin, <b>sushi</b>\nsnow leopard")
    shown.click("#go")
    shown.get_by_text("snow leopard").last.wait_for()
    shown.locator("#result:not(.busy) li:nth-child(3)").wait_for()
    assert set(labels(shown)) == {"violin", "<b>sushi</b>", "snow leopard"}, "names are text, never markup"
    shown.get_by_role("button", name="Adapter's own names").click()
    shown.locator("#result li").get_by_text("blue car").wait_for()


def test_an_image_that_is_dropped_is_classified(shown, photo):
    content = list(photo.read_bytes())
    transfer = shown.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "photo.png", {type: "image/png"}));
            return transfer;
        }""",
        content,
    )
    shown.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    shown.locator("#result li").first.wait_for()
    assert shown.locator("#drop img").is_visible()


def test_what_the_server_refuses_is_said_on_the_page(shown, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image at all")
    shown.set_input_files("#file", tmp_path / "broken.png")
    shown.get_by_text("the upload is no image").wait_for()


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(shown, width):
    shown.set_viewport_size({"width": width, "height": 800})
    shown.fill("#names", "a" * 300)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width


def test_a_set_is_shown_for_a_coverage_and_unknown_below_a_threshold(shown, photo):
    shown.set_input_files("#file", photo)
    shown.locator("#result li").first.wait_for()
    assert "Probabilities are calibrated" in shown.locator("#calibrated").inner_text()
    shown.select_option("#coverage", "0.95")
    shown.get_by_text("Set: ").wait_for()
    shown.select_option("#reject", "0.9")
    labels(shown)
    least = float(shown.locator(".value").first.inner_text().split()[0])
    assert (least < 90) == ("Unknown" in shown.locator("#verdict").inner_text())


def test_the_page_says_how_its_model_was_chosen(shown):
    shown.get_by_text("About this model").click()
    text = shown.locator("details").inner_text()
    assert "How it was chosen" in text
    assert EVIL in text, "names are text, never markup"
    assert "fitted on seeded logits" in text
    assert shown.locator("details svg circle").count() == 2

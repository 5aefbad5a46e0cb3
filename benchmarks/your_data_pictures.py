"""The pictures and the printed lines of docs/your_data.md, from embedded icons with planted faults.

python -m benchmarks.your_data_pictures

Eight classes of icons become a folder with four wrong labels, two pictures that are learnt and tested, and forty images
without labels. The verbs that the page names then run on it. Contact sheets, the leaderboard, the picture of a
calibration and, with --browser, the first screen of a report go to docs/.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from datasets_fewshot import Item, load_dataset
from trainers.cli import main as adaptkit
from trainers.evaluation.judgement_files import RELIABILITY_FILE
from trainers.report.decision.reading import read_decision
from trainers.report.decision.sections import leaderboard_chart

DOCS = Path(__file__).parents[1] / "docs"
DATASET = "icons"
CLASSES = ("battery", "bell", "book", "calculator", "camera", "clock", "cloud", "folder")
BUDGET, CANDIDATES = "6000steps", "tip_adapter,gda,taskres,clip_adapter,linear_probe"
TRAIN, TEST, UNLABELLED = 12, 5, 5  # images of a class
WRONG = (("battery", "folder"), ("bell", "book"), ("camera", "clock"), ("cloud", "bell"))  # true and given class
TEXTS = """\
bell: {name: alarm bell, sentences: [an icon of a bell that rings.]}
folder: [a tab at its top, paper inside]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--browser", help="a Chromium that pictures of the pages are taken with; needs playwright")
    browser = parser.parse_args().browser
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        export(root)
        photos, mine, lists, chosen, sure = (root / name for name in ("photos", "mine", "lists", "chosen", "sure"))
        (root / "texts.yaml").write_text(TEXTS)
        data = ["--data", str(photos), "--template", "an icon of a {}."]
        described = [*data, "--describe", str(root / "texts.yaml")]
        run("train", "auto", *described, "--budget", BUDGET, "--candidates", CANDIDATES, "--out", str(chosen))
        run("train", "clip_adapter", *described, "--out", str(mine))
        run("train", "taskres", *data, "--calibrate", "--out", str(sure))
        words = ["--data", str(photos), "--unlabelled", str(root / "more"), "--count", "16", "--out", str(lists)]
        run("suggest", str(mine), *words)
        for name in ("label_errors", "duplicates", "look_alikes", "label_next"):
            save_small(lists / f"{name}.png", f"your_data_{name}.png")
        draw_leaderboard(chosen)
        save_small(sure / RELIABILITY_FILE, "your_data_reliability.png")
        run("report", *map(str, (chosen, sure, mine, lists)), "--out", str(root / "page.html"))
        if browser is not None:
            photograph(root / "page.html", browser)


def save_small(picture: Path, name: str) -> None:
    """Save a picture for the docs with few colours."""
    with Image.open(picture) as sheet:
        few = sheet.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
    few.save(DOCS / name, optimize=True)


def draw_leaderboard(chosen: Path) -> None:
    """Save the figure of a page as a file of its own."""
    board = read_decision(chosen).leaderboard
    assert board is not None
    drawn = leaderboard_chart(board)
    svg = drawn[drawn.index("<svg ") : drawn.index("</svg>") + len("</svg>")]
    alone = '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" color="#16202c" '
    (DOCS / "your_data_leaderboard.svg").write_text(svg.replace("<svg ", alone, 1) + "\n", encoding="utf-8")


def photograph(page: Path, browser: str) -> None:
    """Save the first screen of a report."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        shown = opened.new_page(viewport={"width": 1000, "height": 900}, color_scheme="light")
        shown.goto(page.as_uri())
        shown.screenshot(path=page.with_suffix(".png"))
        opened.close()
    save_small(page.with_suffix(".png"), "your_data_report.png")


def run(*words: str) -> None:
    print("adaptkit", *words)
    if adaptkit(words):
        raise SystemExit(f"adaptkit {words[0]} failed")


def export(root: Path) -> None:
    """Write the images, and plant the faults."""
    dataset = load_dataset(DATASET)

    def save(item: Item, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.load(item).save(path)

    for name in CLASSES:
        ours = [item for item in dataset.split.train if item.classname == name]
        tested = [item for item in dataset.split.test if item.classname == name][:TEST]
        for number, item in enumerate(ours[:TRAIN]):
            save(item, root / "photos/train" / name / f"{number}.png")
        for number, item in enumerate(ours[TRAIN : TRAIN + UNLABELLED]):
            save(item, root / "more" / f"{name[:3]}{number}.png")
        for number, item in enumerate(tested):
            save(item, root / "photos/test" / name / f"{number}.png")
    train = root / "photos/train"
    for true, given in WRONG:
        (train / true / "0.png").rename(train / given / f"not_{given}.png")
    shutil.copy(train / "book/3.png", root / "photos/test/book/again.png")
    with Image.open(train / "clock/4.png") as image:
        image.convert("RGB").resize((128, 128)).save(root / "photos/test/clock/larger.jpg")


if __name__ == "__main__":
    main()

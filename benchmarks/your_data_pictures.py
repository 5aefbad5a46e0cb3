"""The pictures and the printed lines of docs/your_data.md, from embedded icons with planted faults.

python -m benchmarks.your_data_pictures

Eight classes of icons become a folder with four wrong labels, two pictures that are learnt and tested, and forty images
without labels. The verbs that the page names then run on it, and the contact sheets go to docs/.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from datasets_fewshot import Item, load_dataset
from trainers.cli import main as adaptkit

DOCS = Path(__file__).parents[1] / "docs"
DATASET = "icons"
CLASSES = ("battery", "bell", "book", "calculator", "camera", "clock", "cloud", "folder")
TRAIN, TEST, UNLABELLED = 12, 5, 5  # images of a class
WRONG = (("battery", "folder"), ("bell", "book"), ("camera", "clock"), ("cloud", "bell"))  # true and given class
TEXTS = """\
bell: {name: alarm bell, sentences: [an icon of a bell that rings.]}
folder: [a tab at its top, paper inside]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        export(root)
        photos, mine, lists = root / "photos", root / "mine", root / "lists"
        (root / "texts.yaml").write_text(TEXTS)
        template = ["--template", "an icon of a {}."]
        described = ["--describe", str(root / "texts.yaml")]
        run("train", "clip_adapter", "--data", str(photos), *template, *described, "--out", str(mine))
        words = ["--data", str(photos), "--unlabelled", str(root / "more"), "--count", "16", "--out", str(lists)]
        run("suggest", str(mine), *words)
        for name in ("label_errors", "duplicates", "look_alikes", "label_next"):
            with Image.open(lists / f"{name}.png") as sheet:
                sheet.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(
                    DOCS / f"your_data_{name}.png", optimize=True
                )


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

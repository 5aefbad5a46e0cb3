"""Too little to learn or to judge from: each of it is one sentence and exit code 2, and nothing is left behind."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adaptkit
import adaptkit.backbone.named_in_file
import trainers.bench.plan
from adaptkit import create_method
from adaptkit.backbone.weights_source import WeightsSource
from tests.helpers.synthetic import COLOURS, NAMES
from trainers.cli import main

RNG = np.random.default_rng(0)
LABELS = ((), ("a",), ("b",), ("a", "b"))  # of the images of a table, in turn


def picture(place: Path, label: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(-40, 40, (36, 36, 3)) + COLOURS[label]
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place)


def folder(place: Path, *counts: int) -> None:
    """So many images of each class."""
    for label, count in enumerate(counts):
        for number in range(count):
            picture(place / NAMES[label] / f"{number}.png", label)


def table(place: Path, train, test) -> None:
    """A table of images with these labels each."""
    rows = ["path,labels,split"]
    for part, images in (("train", train), ("test", test)):
        for number, labels in enumerate(images):
            picture(place.parent / "pictures" / f"{place.stem}_{part}_{number}.png", len(labels))
            rows.append(f"pictures/{place.stem}_{part}_{number}.png,{'|'.join(labels)},{part}")
    place.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory, tiny_clip) -> Path:
    """Data that are enough, data that are not, and adapters."""
    home = tmp_path_factory.mktemp("home")
    folder(home / "photos", 8, 8, 8)
    folder(home / "few", 4, 4)
    folder(home / "one_class", 8)
    folder(home / "one_image", 1)
    folder(home / "single", 2, 2)  # one is for training
    folder(home / "lacking" / "train", 5, 5)
    folder(home / "lacking" / "test", 3, 3, 3)
    folder(home / "pair" / "train", 1)
    folder(home / "pair" / "test", 1, 1)
    for name in NAMES[:2]:
        (home / "alike" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (36, 36), "white").save(home / "alike" / name / f"{number}.png")
    for name in ("red", "blue"):
        picture(home / "others" / name / "0.png", 0)
    table(home / "several.csv", LABELS * 4, LABELS * 2)
    table(home / "untested.csv", LABELS * 2, [(), ()])
    table(home / "unlearnt.csv", [(), ()], LABELS)
    table(home / "no_test.csv", LABELS, [])
    (home / "one_label.csv").write_text(
        'path,labels\npictures/several_train_0.png,[]\npictures/several_train_1.png,"[""a""]"\n'
    )
    (home / "nobody.csv").write_text("path,a,b\npictures/several_train_0.png,0,1\npictures/several_train_1.png,0,0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_clip, "source", WeightsSource("tiny", "some_tag"))  # by which adapters load it
        create_method("taskres", tiny_clip, NAMES[:3]).save_pretrained(home / "mine")
        create_method("zero_shot", tiny_clip, NAMES[:3]).save_pretrained(home / "zero")
        create_method("taskres", tiny_clip, NAMES[:3], wrap=["multi_label"]).save_pretrained(home / "both")
        create_method("taskres", tiny_clip, ["a", "b"], wrap=["multi_label"]).save_pretrained(home / "ab")
    return home


# Words of a command, and what it says.
CASES = {
    "train auto --data photos --budget 5steps --candidates kgcoop": "the budget of 5steps is too small for one method",
    "train auto --data one_class": "has one class only, 'red panda'",
    "train auto --data one_image": "has one class only, 'red panda'",
    "train auto --data lacking": "1 of 3 classes have no training image, such as 'blue whale'",
    "train auto --data alike": "training images of alike look alike to",
    "train auto --data several.csv": "one class is needed here",
    "train taskres --calibrate --data one_class": "has one class only, 'red panda'",
    "train taskres --calibrate --data one_image": "has one class only, 'red panda'",
    "train taskres --calibrate --data single": "no class has two different training images",
    "train taskres --calibrate --data alike": "no class has two different training images",
    "train taskres --calibrate --data few": "4 training images can be held out, which are too few to calibrate on",
    "train zero_shot --calibrate --data single": "2 training images can be held out, which are too few to calibrate on",
    "train taskres --calibrate --data photos --wrap multi_label": "this method answers with several labels per image",
    "train taskres --calibrate --data several.csv": "calibrate=True is for images of one class each",
    "calibrate mine --data one_image": "1 held-out images are too few to calibrate on",
    "calibrate mine --data alike": "16 held-out images are 1 different ones, which are too few to calibrate on",
    "calibrate mine --data others": "classes that the adapter does not know, such as 'blue'",
    "calibrate mine --data several.csv": "one class is needed here",
    "calibrate zero --data one_class --false-rejections 0.1": "the held-out images show one class only",
    "calibrate both --data photos": "this method answers with several labels per image",
    "suggest mine --data one_class": "has one class only, 'red panda', so no label can be wrong",
    "suggest mine --data one_image": "has one class only, 'red panda', so no label can be wrong",
    "suggest mine --data pair": "has 1 training images, and suggestions compare several",
    "suggest mine --data alike": "training images of alike are copies of one picture",
    "suggest mine --data others": "classes that the adapter does not know, such as 'blue'",
    "suggest mine --data photos --unlabelled few/empty": "there is no folder of unlabelled images",
    "suggest both --data photos": "this adapter answers with several labels per image",
    "train coop --data one_label.csv": "one label only, 'a'",
    "train coop --data untested.csv": "no test image of untested has any of the 2 labels",
    "train coop --data unlearnt.csv": "no training image of unlearnt has any of the 2 labels",
    "train coop --data no_test.csv": "no_test has no test images",
    "train coop --data nobody.csv": "no image has the label 'a'",
    "eval ab --data several.csv --coverage 0.5": "about images of one class each, and ab answers with several labels",
    "eval mine --data photos --coverage 0.5": "mine has no calibration, so it promises no coverage",
    "predict mine photos --coverage 0": "expected a probability between 0 and 1",
    "predict mine photos --coverage 1": "expected a probability between 0 and 1",
    "predict mine photos --coverage nan": "expected a probability from 0 to 1",
    "predict mine photos --coverage 0.9": "this method has no calibration",
    "predict mine photos --reject 1.5": "expected a probability from 0 to 1, or auto",
    "predict mine photos --reject auto": "this method has no calibration",
    "predict both photos --coverage 0.9": "has learnt several labels per image",
    "predict both photos --reject auto": "has learnt several labels per image",
}


@pytest.mark.parametrize("words", CASES)
def test_too_little_is_one_sentence(words, home, tiny_clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(home)
    for module in (trainers.bench.plan, adaptkit.backbone.named_in_file, adaptkit):
        monkeypatch.setattr(module, "load_backbone", lambda *args, **options: tiny_clip)
    out = ["--out", str(tmp_path / "out")] if words.startswith(("train", "suggest")) else []
    assert main([*words.split(), *out]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert CASES[words] in errors[0]
    assert ". " not in errors[0].partition("error:")[2], "one sentence"
    assert not (tmp_path / "out").exists()
    assert not list(home.glob("*/calibration.json"))

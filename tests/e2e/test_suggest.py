"""`adaptkit suggest`: planted label errors, copies and unlabelled images are found, and the lists are files."""

import base64
import csv
import json
import shutil

import pytest
from PIL import Image

from datasets_fewshot import load_dataset
from trainers.cli import main

CLASSES = ("trousers", "sandal", "bag", "ankle boot", "dress")
PER_CLASS = 14  # of the training part
SWAPPED = (("sandal", "trousers"), ("dress", "bag"), ("trousers", "ankle boot"), ("bag", "dress"))


def written(folder, parts):
    """Images of Fashion-MNIST as PNG files in class folders."""
    dataset = load_dataset("fashion_mnist")
    for part, (items, count) in parts.items():
        taken = dict.fromkeys(CLASSES, 0)
        for item in items(dataset):
            if item.classname in taken and taken[item.classname] < count:
                path = folder / part / item.classname / f"{taken[item.classname]}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                dataset.load(item).save(path)
                taken[item.classname] += 1


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """Data with planted faults, unlabelled images, and an adapter that was trained on the data."""
    root = tmp_path_factory.mktemp("suggest")
    written(root / "photos", {"train": (lambda d: d.split.train, PER_CLASS), "test": (lambda d: d.split.test, 4)})
    for number, (true, given) in enumerate(SWAPPED):
        (root / "photos/train" / true / "0.png").rename(root / "photos/train" / given / f"wrong{number}.png")
    shutil.copy(root / "photos/train/bag/3.png", root / "photos/test/bag/same.png")
    with Image.open(root / "photos/train/sandal/5.png") as image:
        image.resize((56, 56)).save(root / "photos/test/sandal/bigger.jpg", quality=90)
    written(root / "more", {"new": (lambda d: d.split.train[::-1], 5)})
    for name in ("bag", "dress"):
        shutil.copy(root / f"photos/train/{name}/2.png", root / f"more/known_{name}.png")
    shutil.copy(root / "more/new/sandal/1.png", root / "more/again.png")
    (root / "more/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    words = ["train", "linear_probe", "--data", str(root / "photos"), "--out", str(root / "mine")]
    assert main(words) == 0
    return root


def rows_of(file):
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module")
def lists(adapter):
    words = ["suggest", str(adapter / "mine"), "--data", str(adapter / "photos"), "--out", str(adapter / "lists")]
    assert main([*words, "--unlabelled", str(adapter / "more"), "--count", "6"]) == 0
    return adapter / "lists"


def test_swapped_labels_are_found(lists):
    rows = rows_of(lists / "label_errors.csv")
    found = [row["path"] for row in rows if "wrong" in row["path"]]
    assert len(found) >= len(SWAPPED) - 1
    assert "wrong" in rows[0]["path"], "the surest one is planted"
    believed = [float(row["label_probability"]) for row in rows]
    assert believed == sorted(believed), "the least believed label first"
    assert rows[0]["confident"] == "yes"
    assert Image.open(lists / "label_errors.png").width > 100


def test_copies_in_the_test_part_are_found(lists):
    found = {(row["path"], row["other_path"]): row["kind"] for row in rows_of(lists / "duplicates.csv")}
    assert found["train/bag/3.png", "test/bag/same.png"] == "exact"
    assert found["train/sandal/5.png", "test/sandal/bigger.jpg"] == "near"


def test_unlabelled_images_are_new_and_different(lists):
    content = json.loads((lists / "suggestions.json").read_text())
    chosen = [row["path"] for row in rows_of(lists / "label_next.csv")]
    assert len(chosen) == len(set(chosen)) == 6
    assert not {"known_bag.png", "known_dress.png", "broken.png"} & set(chosen)
    assert not {"again.png", "new/sandal/1.png"} <= set(chosen), "of two copies one at most"
    assert any("1 unlabelled images cannot be read" in note for note in content["notes"])
    assert any("3 of 28 unlabelled images are copies" in note for note in content["notes"])


def test_the_page_holds_every_list_and_asks_for_nothing(lists):
    text = (lists / "suggestions.html").read_text()
    assert text.count("data:image/png;base64,") == 4
    assert "http://" not in text
    assert "https://" not in text
    assert "train/ankle boot/wrong2.png" in text


def test_a_report_of_the_adapter_and_its_lists_holds_both(adapter, lists, tmp_path):
    page = tmp_path / "page.html"
    assert main(["report", str(adapter / "mine"), str(lists), "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    for name in ("label_errors", "duplicates", "look_alikes", "label_next"):
        assert base64.b64encode((lists / f"{name}.png").read_bytes()).decode() in text
    assert "train/ankle boot/wrong2.png" in text
    assert "https://" not in text
    assert "What is not shown" not in text


def test_classes_that_look_alike_have_pictures(lists):
    rows = rows_of(lists / "look_alikes.csv")
    assert {row["label"] for row in rows} <= set(CLASSES)
    assert all(row["shown"] for row in rows)
    assert (lists / "look_alikes.png").is_file()


def test_the_same_words_give_the_same_lists(adapter, lists, capsys):
    before = {path.name: path.read_bytes() for path in lists.iterdir()}
    words = ["suggest", str(adapter / "mine"), "--data", str(adapter / "photos"), "--out", str(lists), "--json"]
    assert main([*words, "--unlabelled", str(adapter / "more"), "--count", "6"]) == 0
    assert {path.name: path.read_bytes() for path in lists.iterdir()} == before
    assert json.loads(capsys.readouterr().out)["folds"] == 5


def test_lists_that_cannot_be_made_are_left_out(adapter, tmp_path, capsys):
    one_shot = tmp_path / "few"
    for name in CLASSES:
        for part in ("train", "test"):
            (one_shot / part / name).mkdir(parents=True)
            shutil.copy(adapter / f"photos/{part}/{name}/3.png", one_shot / part / name / "0.png")
    words = ["suggest", str(adapter / "mine"), "--data", str(one_shot), "--out", str(tmp_path / "lists")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "left out: label errors: every class has one training image, so none can be held out" in said
    assert "left out: images to label next: no folder is given" in said
    names = {path.name for path in (tmp_path / "lists").iterdir()}
    made = {"duplicates.csv", "look_alikes.csv", "look_alikes.png", "suggestions.json", "suggestions.html"}
    assert names - {"duplicates.png"} == made
    assert "This list could not be made." in (tmp_path / "lists" / "suggestions.html").read_text()


def test_a_method_that_learns_nothing_needs_no_folds(adapter, tmp_path, capsys):
    assert main(["train", "zero_shot", "--data", str(adapter / "photos"), "--out", str(tmp_path / "zero")]) == 0
    words = ["suggest", str(tmp_path / "zero"), "--data", str(adapter / "photos"), "--out", str(tmp_path / "lists")]
    assert main(words) == 0
    content = json.loads((tmp_path / "lists" / "suggestions.json").read_text())
    assert (content["folds"], content["held_out_images"]) == (0, content["images"])
    assert "nothing is learnt, so all of them" in capsys.readouterr().out


BAD = {
    "one class": "has one class only, 'bag', so no label can be wrong",
    "one image": "has 1 training images, and suggestions compare several",
    "nothing to label": "there is no image to label in",
    "all alike": "are copies of one picture, so there is nothing to learn",
    "no folder": "there is no folder of unlabelled images",
    "other classes": "classes that the adapter does not know, such as",
    "an adapter's folder": "exists and holds no suggestions; give another folder",
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case, adapter, tmp_path, capsys):
    data, more, out = tmp_path / "data", tmp_path / "more", tmp_path / "lists"
    more.mkdir()
    classes = {"one class": ("bag",), "one image": ("bag",), "other classes": ("bag", "unicorn")}.get(case, CLASSES)
    for name in classes:
        source = {"all alike": "bag", "unicorn": "dress"}.get(case if case == "all alike" else name, name)
        for number in range(4):
            path = data / "train" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            copied = 3 if case == "all alike" else 3 + number
            shutil.copy(adapter / f"photos/train/{source}/{copied}.png", path)
        if case == "one image":
            shutil.rmtree(data / "train" / name)
            (data / "train" / name).mkdir()
            shutil.copy(adapter / f"photos/train/{name}/3.png", data / "train" / name / "0.png")
            (data / "test" / "dress").mkdir(parents=True)
            shutil.copy(adapter / "photos/test/dress/1.png", data / "test" / "dress" / "0.png")
    words = ["suggest", str(adapter / "mine"), "--data", str(data), "--out", str(out)]
    if case in ("nothing to label", "no folder"):
        words += ["--unlabelled", str(more if case == "nothing to label" else tmp_path / "nowhere")]
    if case == "an adapter's folder":
        words[-1] = str(adapter / "mine")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert BAD[case] in said
    assert said.count("\n") == 1
    assert not out.exists()

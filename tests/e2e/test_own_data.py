"""Own data at the doors: train, bench, eval and data check them alike, in words, before anything is computed."""

import shutil
from pathlib import Path

import pytest

from datasets_fewshot import load_dataset
from trainers.cli import main

CLASSES, IMAGES = 4, 6


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder with photos/CLASS/NUMBER.png and a table of them with a heading that nobody knows."""
    dataset = load_dataset("icons")
    lines = ["where;breed"]
    for label in range(CLASSES):
        items = [item for part in dataset.split for item in part if item.label == label][:IMAGES]
        for number, item in enumerate(items):
            place = tmp_path / "photos" / item.classname / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            dataset.load(item).save(place)
            lines.append(f"/home/me/photos/{item.classname}/{number}.png;{item.classname}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*words: str) -> int:
    return main(["train", "zero_shot", "--out", "out", *words])


def bench(*words: str) -> int:
    return main(
        ["bench", "--protocol", "few_shot", "--methods", "zero_shot,coop", "--seeds", "1", "--shots", "1", *words]
    )


def parts_without_a_test(home: Path) -> None:
    for name in sorted((home / "photos").iterdir()):
        for part in ("train", "val"):
            shutil.copytree(name, home / "data" / part / name.name)


def one_class(home: Path) -> None:
    shutil.copytree(home / "photos", home / "data" / "images")


def one_name(home: Path) -> None:
    for folder, name in zip(sorted((home / "photos").iterdir()), ("a b", "A_b", "c", "d"), strict=True):
        shutil.copytree(folder, home / "data" / name)


def flat_parts(home: Path) -> None:
    for part in ("train", "test"):
        shutil.copytree(sorted((home / "photos").iterdir())[0], home / "data" / part)


UNUSABLE = {
    parts_without_a_test: "has no test images, so nobody would know how well it works; test on its 24 val images with",
    one_class: "data has one class only, 'images'",
    one_name: "1 names stand for two classes, because capitals and underscores make no difference: 'A_b' and 'a b'",
    flat_parts: "which hold images and no class folders, so the classes are unknown",
}


@pytest.mark.parametrize("fault", UNUSABLE, ids=lambda fault: fault.__name__)
def test_every_door_refuses_the_same_data_in_the_same_words(home, capsys, fault):
    fault(home)
    for door in (train, bench, lambda *words: bench("--dry-run", *words)):
        assert door("--data", "data") == 2
        streams = capsys.readouterr()
        assert UNUSABLE[fault] in streams.err
        assert not streams.out
    assert main(["data", "doctor", "data"]) == 2
    assert UNUSABLE[fault] in capsys.readouterr().out
    assert not (home / "out" / "adapter_config.json").exists()


def test_val_images_are_tested_on_where_that_is_asked_for(home, capsys):
    parts_without_a_test(home)
    assert bench("--data", "data", "--dry-run", "--val-as-test") == 0
    assert "data: the val part is the test part, as asked for" in capsys.readouterr().err
    assert train("--data", "data", "--val-as-test") == 0
    assert "of 24 test images" in capsys.readouterr().out


def test_a_table_is_trained_on_and_tested_with_the_column_that_is_named(home, capsys):
    assert train("--data", "table.csv") == 2
    assert "has the columns 'where', 'breed'" in capsys.readouterr().err
    assert train("--data", "table.csv", "--label-column", "breed") == 0
    streams = capsys.readouterr()
    assert "24 paths begin with 'home/me', as on another machine" in streams.err
    assert main(["eval", "out", "--data", "table.csv", "--label-column", "breed"]) == 0
    assert main(["data", "doctor", "table.csv", "--label-column", "breed"]) == 0
    assert "24 images of 4 classes" in capsys.readouterr().out
    assert main(["data", "show", "table.csv", "--label-column", "breed", "--path-column", "where"]) == 0
    assert bench("--data", "table.csv", "--label-column", "breed", "--dry-run") == 0
    assert bench("--data", "table.csv", "DATA.LABEL_COLUMN", "where", "--dry-run") == 2


def test_the_doctor_of_own_data_writes_nothing_beside_them(home, capsys):
    assert main(["data", "doctor", "photos"]) == 0
    out = capsys.readouterr().out
    assert "=> ready: adaptkit train METHOD --data photos" in out
    assert not list((home / "photos").glob("*.json"))


def test_a_split_is_drawn_again_where_that_is_asked_for(home, capsys):
    assert bench("--data", "photos", "--dry-run") == 0
    shutil.copytree(home / "photos" / sorted((home / "photos").iterdir())[1].name, home / "photos" / "zebra")
    capsys.readouterr()
    assert bench("--data", "photos", "--dry-run") == 0
    assert (
        "photos: the classes 'zebra' with 6 images came after adaptkit_split.json was drawn" in capsys.readouterr().err
    )
    assert bench("--data", "photos", "--dry-run", "--redraw") == 2
    assert "--dry-run writes nothing" in capsys.readouterr().err
    assert bench("--dry-run", "--redraw") == 2
    assert main(["data", "show", "photos", "--redraw"]) == 0
    assert "5 classes" in capsys.readouterr().out
    assert bench("--data", "photos", "--dry-run") == 0
    assert "zebra' with" not in capsys.readouterr().err


@pytest.mark.parametrize("method", ["coop", "tip_adapter"])
def test_a_class_without_training_images_keeps_its_place_among_the_labels(home, capsys, method):
    """Labels of the classes behind it would be those of their neighbours."""
    for place, folder in enumerate(sorted((home / "photos").iterdir())):
        shutil.copytree(folder, home / "data" / "test" / folder.name)
        if place != 1:
            shutil.copytree(folder, home / "data" / "train" / folder.name)
    words = [
        "--data",
        "data",
        "--protocol",
        "few_shot",
        "--methods",
        f"zero_shot,{method}",
        "--seeds",
        "1",
        "--shots",
        "2",
    ]
    assert main(["bench", *words, "OPTIM.EPOCHS", "1"]) == 0
    streams = capsys.readouterr()
    assert "no training image of" in streams.err


def test_half_of_two_classes_is_refused_because_every_answer_is_right(home, capsys):
    for folder in sorted((home / "photos").iterdir())[2:]:
        shutil.rmtree(folder)
    assert main(["bench", "--data", "photos", "--methods", "zero_shot", "--seeds", "1", "--dry-run"]) == 2
    assert "would test photos on one class only" in capsys.readouterr().err


def test_a_template_that_is_too_long_is_blamed_itself(home, capsys):
    template = "a photo of a " + "very " * 20 + "{}"
    for door in (train, bench):
        assert door("--data", "photos", "--template", template) == 2
        assert "has 26 tokens without a class name" in capsys.readouterr().err

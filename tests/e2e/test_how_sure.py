"""How sure: calibrate in a training and on held-out images, predict with sets and unknown, judge on the test part."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adaptkit
from adaptkit import create_method, load_backbone
from tests.e2e.test_cli import run_adaptkit
from tests.helpers.calibrated import calibrated
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.cli import main
from trainers.fit.calibrating import read_training_marks

QUICK = ("OPTIM.STEPS", "3")


@pytest.fixture(scope="module")
def home(tmp_path_factory, started):
    """Four class folders of 24 images each, and an adapter that was trained and calibrated on half of them."""
    folder = tmp_path_factory.mktemp("home")
    source = synthetic_dataset(folder / "source", train=24)
    for item in source.split.train:
        place = folder / "photos" / NAMES[item.label] / Path(item.path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        source.path(item).rename(place)
    words = ["train", "taskres", "--data", "photos", "--out", "mine", "--calibrate", *QUICK]
    answer = run_adaptkit(started, words, folder)
    assert answer.returncode == 0, answer.stderr
    (folder / "said.txt").write_text(answer.stdout)
    return folder


@pytest.fixture
def here(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(home / "cache"))
    return home


def test_a_training_calibrates_on_folds_and_says_what_that_is_worth_on_the_test_part(home):
    said, summary = (home / "said.txt").read_text(), json.loads((home / "mine" / "summary.json").read_text())
    method = adaptkit.load(home / "mine")
    assert method.calibration is not None
    assert method.calibration.source == "5 folds of 32 training images"
    assert len(set(method.calibration.images)) == 32
    found = summary["calibration"]
    assert found["temperature"] == method.calibration.temperature
    assert found["ece"]["before"] == summary["ece"]
    assert [one["score"] for one in found["sets"]] == ["lac", "aps", "aps_randomised", "lac"]
    assert f"calibration error {found['ece']['before']:.2f} % before and {found['ece']['after']:.2f} % after" in said
    assert "note: no threshold for unknown classes: " in said  # what is learnt belongs to the classes
    if (home / "mine" / "confusion_matrix.png").is_file():  # with matplotlib
        Image.open(home / "mine" / "reliability.png").verify()


def test_no_test_image_is_calibrated_on(home):
    from datasets_fewshot import load_own_data
    from datasets_fewshot.splits.content_marks import content_marks

    dataset, method = load_own_data(home / "photos"), adaptkit.load(home / "mine")
    assert method.calibration is not None
    train, val, test = (set(content_marks(dataset, part)) for part in dataset.split)
    assert set(method.calibration.images) < train
    assert not set(method.calibration.images) & (test | val)
    written = json.loads((home / "mine" / "training_images.json").read_text())
    assert set(method.calibration.images) <= set(written["marks"]) <= train | val


def test_the_same_command_again_trains_no_fold_again(here, capsys):
    before = (here / "mine" / "calibration.json").read_bytes()
    assert main(["train", "taskres", "--data", "photos", "--out", "mine", "--calibrate", *QUICK]) == 0
    output = capsys.readouterr()
    assert output.out == (here / "said.txt").read_text()
    assert (here / "mine" / "calibration.json").read_bytes() == before


def test_predict_says_sets_and_unknown_and_that_they_are_calibrated(here, capsys):
    image = str(next((here / "photos").rglob("*.png")))
    assert main(["predict", "mine", image, "--coverage", "0.8", "--reject", "1", "--json"]) == 0
    output = capsys.readouterr()
    (answer,) = map(json.loads, output.out.splitlines())
    (expected,) = adaptkit.load("mine").predict(image, topk=3, coverage=0.8, reject=1.0)
    assert answer["calibrated"]
    assert answer["label"] == "unknown"
    assert [one["label"] for one in answer["set"]] == list(expected.members or ())
    assert "probabilities are calibrated: temperature " in output.err
    assert "fitted on 5 folds of 32 training images" in output.err
    assert main(["predict", "mine", image, "--coverage", "0.8", "--sets", "aps"]) == 0
    line = capsys.readouterr().out
    (expected,) = adaptkit.load("mine").predict(image, coverage=0.8, sets="aps")
    assert line.startswith(f"{image}: {{{', '.join(expected.members or ())}}}: {expected.label} ")


def test_eval_says_coverage_and_draws(here, capsys):
    assert main(["eval", "mine", "--data", "photos", "--coverage", "0.7", "--json", "--out", "judged"]) == 0
    found = json.loads(capsys.readouterr().out)["calibration"]
    assert {one["promised"] for one in found["sets"]} == {0.7}
    assert found["notes"] == []
    assert main(["report", "judged", "--out", "judged.html"]) == 0
    assert f"{100 * found['sets'][0]['covered']:.1f} ±" in Path("judged.html").read_text(encoding="utf-8")
    assert main(["eval", "mine", "--data", "photos", "--part", "train"]) == 0
    assert "note: 32 of these images were calibrated on" in capsys.readouterr().out


def test_a_report_shows_what_was_promised_and_seen(here, tmp_path):
    assert main(["report", "mine", "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    found = json.loads((here / "mine" / "summary.json").read_text())["calibration"]
    assert f"{found['ece']['before']:.2f}" in text
    for one in found["sets"]:
        assert f"{100 * one['covered']:.1f} ± {100 * one['standard_error']:.1f}" in text
    drawn = (here / "mine" / "reliability.png").is_file()
    assert drawn == ("How often answers are right, by confidence" in text)
    assert drawn == ("pip install &#x27;adaptkit-clip[report]&#x27;" not in text)


def test_images_that_were_learnt_from_are_refused_wherever_they_lie(here, capsys):
    shutil.copytree("photos", "elsewhere", dirs_exist_ok=True)
    assert main(["calibrate", "mine", "--data", "elsewhere"]) == 2
    assert "of the 96 images are among those that mine has learnt from" in capsys.readouterr().err


def test_held_out_images_calibrate_an_adapter_in_place(here, capsys):
    shutil.copytree("mine", "other", dirs_exist_ok=True)
    assert main(["calibrate", "other", "--data", "photos", "--part", "test"]) == 0
    output = capsys.readouterr()
    assert "wrote other/calibration.json" in output.out
    method = adaptkit.load("other")
    assert method.calibration is not None
    assert method.calibration.source.endswith("images of photos")
    assert main(["eval", "other", "--data", "photos"]) == 0
    assert "images were calibrated on, so calibration and coverage are flattered" in capsys.readouterr().out


def test_the_val_part_calibrates_what_has_not_looked_at_it(here, capsys):
    shutil.copytree("mine", "by_val", dirs_exist_ok=True)
    assert main(["calibrate", "by_val", "--data", "photos", "--part", "val"]) == 0
    assert main(["train", "tip_adapter", "--data", "photos", "--out", "tuned"]) == 0
    capsys.readouterr()
    assert main(["calibrate", "tuned", "--data", "photos", "--part", "val"]) == 2
    assert "of the 20 images are among those that tuned has learnt from" in capsys.readouterr().err


def test_what_an_earlier_training_has_seen_counts_for_the_one_that_starts_from_it(here, capsys):
    words = ["train", "taskres", "--data", "photos", "--shots", "1", "--out", "further", "OPTIM.STEPS", "1"]
    assert main([*words, "--start-from", "mine"]) == 0
    assert read_training_marks(here / "further") >= read_training_marks(here / "mine")
    shutil.copytree("mine", "silent", dirs_exist_ok=True)
    (here / "silent" / "training_images.json").unlink()
    assert main([*words, "--start-from", "silent"]) == 0
    assert read_training_marks(here / "further") is None
    assert main(["calibrate", "further", "--data", "photos", "--part", "test"]) == 0
    assert "further does not say which images it has learnt from" in capsys.readouterr().err


def test_a_training_without_it_leaves_no_calibration_behind(here, capsys):
    shutil.copytree("mine", "again", dirs_exist_ok=True)
    assert main(["train", "taskres", "--data", "photos", "--out", "again", *QUICK]) == 0
    assert not (here / "again" / "calibration.json").exists()
    assert not (here / "again" / "reliability.png").exists()
    for words in (["predict", "again", "photos", "--coverage", "0.9"], ["eval", "again", "--data", "photos"]):
        code = main([*words, "--coverage", "0.9"])
        assert code == 2
        assert "has no calibration" in capsys.readouterr().err


def test_what_learns_nothing_is_calibrated_on_all_training_images_and_rejects_unknown_classes(here, capsys):
    words = ["train", "zero_shot", "--data", "photos", "--out", "plain", "--calibrate", "--false-rejections", "0.1"]
    assert main(words) == 0
    assert "(fitted on all 48 training images, of which it learnt nothing)" in (said := capsys.readouterr().out)
    assert "unknown classes: --reject auto answers 'unknown' below" in said
    method = adaptkit.load("plain")
    assert method.calibration is not None
    assert method.calibration.unknown is not None
    assert method.calibration.unknown.false_rejections <= 0.1
    assert main(["predict", "plain", "photos", "--reject", "auto", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    least = method.calibration.unknown.threshold
    assert all(one["rejected"] == (one["classes"][0]["probability"] < least) for one in answers)
    assert main(["predict", "plain", "photos", "--reject", "auto", "--classes", "cat,dog"]) == 2
    assert "this method has one for other classes or prompts; give a probability" in capsys.readouterr().err


def test_columns_that_are_left_out_are_classes_that_are_left_out(here):
    method = adaptkit.load("plain") if (here / "plain").exists() else create_method("zero_shot", _mini(), NAMES)
    image = np.asarray(Image.open(next((here / "photos").rglob("*.png"))).convert("RGB"))
    all_of_them = method.backbone.preprocess(Image.fromarray(image))[None]
    logits = method(all_of_them)
    method.set_classes([method.classes.classnames[place] for place in (3, 1)])
    assert np.allclose(method(all_of_them).detach(), logits[:, [3, 1]].detach(), atol=1e-5)


def _mini():
    return load_backbone("adaptkit-mini")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("train taskres --shots 1 --calibrate", "no class has two different training images"),
        ("train taskres --false-rejections 0.1", "--false-rejections 0.1 is about a calibration, and none is asked"),
        ("train taskres --calibrate --false-rejections 0.1", "no threshold for unknown classes can be chosen"),
        ("train taskres --calibrate --start-from mine", "the adapter mine may have learnt from them"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_before_anything_is_trained(here, words, complaint, capsys):
    assert main([*words.split(), "--data", "photos", "--out", "refused"]) == 2
    output = capsys.readouterr()
    assert complaint in output.err
    assert "taskres:" not in output.err


def test_other_images_are_refused_in_words(here, capsys):
    method = calibrated(create_method("linear_probe", _mini(), NAMES))
    method.save_pretrained("foreign")
    for name, colours in (("one_class", [NAMES[0]]), ("others", ["red", "blue"])):
        for colour in colours:
            for number in range(3):
                place = here / name / colour / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (40 * number, len(colour), 9)).save(place)
    assert main(["calibrate", "foreign", "--data", "others"]) == 2
    assert "classes that the adapter does not know" in capsys.readouterr().err
    assert main(["calibrate", "foreign", "--data", "one_class"]) == 2
    assert "3 held-out images are too few to calibrate on" in capsys.readouterr().err
    shutil.make_archive("packed", "zip", "foreign")
    assert adaptkit.load("packed.zip").calibration == method.calibration
    assert main(["calibrate", "packed.zip", "--data", "photos"]) == 2
    assert "packed.zip is no folder, and a calibration is written beside an adapter" in capsys.readouterr().err

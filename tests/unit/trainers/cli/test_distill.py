"""`adaptkit distill`: from a folder of images to a student that other verbs take as their backbone."""

import json
import shutil

import pytest

from adaptkit.weights.ood_distill import DistillationLossConfig
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.cli import main
from trainers.cli.distill import loss_of


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = synthetic_dataset(tmp_path / "all", train=6, val=0, test=0)
    for item in dataset.split.train:
        folder = tmp_path / "photos" / NAMES[item.label]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(dataset.path(item), folder)
    return tmp_path


def test_a_student_is_made_tested_and_used(place, capsys):
    words = ["distill", "--data", "photos", "--student", "test_vit", "--out", "student", "--epochs", "2"]
    (place / "looks.json").write_text(json.dumps({name: ["of one colour"] for name in NAMES}))
    assert main([*words, "--held-out", "0.5", "--descriptions", "looks.json", "--loss", "filter=true", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content["scores"]) == ["classes of the training, test images", "classes never trained on"]
    assert content["scores"]["classes never trained on"]["images"] == 12
    saved = json.loads((place / "student" / "student.json").read_text())
    assert len(saved["classnames"]) == 2
    assert "class texts with the descriptions of looks.json" in saved["notes"]

    assert (
        main(["distill", "--data", "photos", "--student", "student", "--few-shot", "--out", "more", "--epochs", "1"])
        == 0
    )
    assert "saved in more" in capsys.readouterr().out
    words = ["train", "taskres", "--backbone", "more", "--data", "photos", "--out", "adapter", "OPTIM.EPOCHS", "1"]
    assert main(words) == 0
    assert main(["predict", "adapter", "--backbone", "more", "photos/grey wolf/3_0.png"]) == 0
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed: the [export] extra")
    assert main(["export", "adapter", "--backbone", "more", "--out", "student.onnx"]) == 0
    assert (place / "student.onnx").is_file()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--student", "resnet81"], "near it are resnet18"),
        (["--loss", "cal=1"], "did you mean cls"),
        (["--loss", "k=0"], "k=0"),
        (["--loss", "cap=1"], "cap=1.0 and there are no captions"),
        (["--held-out", "0.9"], "two or more are needed"),
        (["--captions", "none.json"], "none.json"),
        (["--captions", "some.json"], "the weight cap is 0"),
    ],
)
def test_mistakes_are_told_before_anything_is_computed(place, capsys, words, complaint):
    (place / "some.json").write_text('{"a.png": ["a caption"]}')
    assert main(["distill", "--data", "photos", "--student", "test_vit", "--out", "student", *words]) == 2
    assert complaint in capsys.readouterr().err
    assert not (place / "student").exists()


def test_losses_are_read_from_words():
    assert loss_of([]) == DistillationLossConfig()
    assert loss_of(["mse=0", "tau=1e-2", "mse_form=raw", "filter=true"]) == DistillationLossConfig(
        mse=0.0, tau=0.01, mse_form="raw", filter=True
    )

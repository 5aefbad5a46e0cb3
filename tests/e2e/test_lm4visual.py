"""LM4Visual through the command: trained on a folder around two methods, saved, loaded, predicting and exported."""

import json

import pytest
import torch

import adaptkit
from adaptkit.wrappers import LM4VisualConfig, TokenMergingConfig
from tests.e2e.test_fit import own_folder
from tests.helpers.models import build
from trainers.cli import main


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("method", ["zero_shot", "maple"])
def test_what_learns_on_a_folder_is_loaded_and_predicts_the_same(home, capsys, method):
    photos = own_folder(home)
    words = ["--data", "photos", "--shots", "2", "--out", "mine", "OPTIM.EPOCHS", "3", "LM4VISUAL.GATE", "channel"]
    assert main(["train", method, "--wrap", "lm4visual", *words]) == 0
    records = [json.loads(path.read_text()) for path in (home / "mine" / "runs").rglob("record.json")]
    assert any(
        macs["image"] > macs["image_as_loaded"]
        for record in records
        if record["architecture"]
        for macs in [record["architecture"]["macs"]]
    )

    loaded, images = adaptkit.load(home / "mine"), sorted(photos.rglob("*.png"))[:4]
    assert loaded.step.gamma.shape == (192,)
    assert not loaded.step.is_closed
    expected = [prediction.label for prediction in loaded.predict(images)]
    capsys.readouterr()
    assert main(["predict", "mine", *map(str, images), "--json"]) == 0
    assert all(label in line for label, line in zip(expected, capsys.readouterr().out.splitlines(), strict=True))
    assert main(["explain", "mine", str(images[0]), "--out", "why.png"]) == 0


BLOCK = [("lm4visual", LM4VisualConfig())]
POOLED = [("lm4visual", LM4VisualConfig(where="pooled"))]
MERGED = [*BLOCK, ("token_merging", TokenMergingConfig(r=3))]
FORMATS = ("onnx", "torchscript", "torch.export")
QUICK = (("merged", "onnx"), ("pooled", "torch.export"), ("tokens", "torchscript"))


@pytest.mark.parametrize(
    ("wrap", "file_format"),
    [
        pytest.param(wrap, form, id=f"{name}-{form}", marks=() if (name, form) in QUICK else pytest.mark.slow)
        for name, wrap in (("tokens", BLOCK), ("pooled", POOLED), ("merged", MERGED))
        for form in FORMATS
    ],
)
def test_a_tower_with_a_language_block_exports(tmp_path, wrap, file_format):
    if file_format == "onnx":
        pytest.importorskip("onnxruntime")
    from adaptkit.deployment.export import export

    method = adaptkit.create_method("zero_shot", build("clip_vit"), ["cat", "dog", "whale"], wrap=wrap)
    with torch.no_grad():
        method.step.gamma.fill_(0.01)
    exported = export(method, tmp_path / "file", file_format)  # refuses what differs, also for other numbers of images
    assert exported.agreement == 1

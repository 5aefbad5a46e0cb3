"""Token merging through the command: MaPLe trained with it on a folder, saved, loaded, predicting and exported."""

import json

import pytest
import torch

import adaptkit
from adaptkit.wrappers import DASConfig, TokenMergingConfig
from tests.e2e.test_fit import own_folder
from tests.helpers.models import build
from trainers.cli import main


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_maple_learns_under_merging_and_what_is_loaded_predicts_the_same(home, capsys):
    photos = own_folder(home)
    words = ["--data", "photos", "--shots", "2", "--out", "mine", "OPTIM.EPOCHS", "1", "TOKEN_MERGING.R", "4"]
    assert main(["train", "maple", "--wrap", "token_merging", *words]) == 0
    (record,) = (
        found
        for path in (home / "mine" / "runs").rglob("record.json")
        if (found := json.loads(path.read_text()))["method"] == "maple"
    )
    macs = record["architecture"]["macs"]
    assert macs["image"] < 0.7 * macs["image_as_loaded"]

    method, images = adaptkit.load(home / "mine"), sorted(photos.rglob("*.png"))[:6]
    assert method.tokens_per_block() == (33, 29, 25, 21, 17, 17)
    expected = [prediction.label for prediction in method.predict(images)]
    capsys.readouterr()
    assert main(["predict", "mine", *map(str, images), "--json"]) == 0
    assert all(label in line for label, line in zip(expected, capsys.readouterr().out.splitlines(), strict=True))

    again = adaptkit.load(method.save_pretrained(home / "again"))
    x = torch.rand(3, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(again.eval()(x), method.eval()(x))


DAS = DASConfig(select="given", skip_vision=1, vision_blocks=(0,), skip_text=0, encoder="vision")


MERGE = [("token_merging", TokenMergingConfig(r=3))]
PRUNE = [("token_merging", TokenMergingConfig(mode="prune", prune_at=(0, 1)))]
FOLD = [("token_merging", TokenMergingConfig(mode="fold", prune_at=(0, 1)))]
SKIP_AND_MERGE = [("das", DAS), *MERGE]
FORMATS = ("onnx", "torchscript", "torch.export")
# Merging in an ONNX file is in tests/e2e/test_lm4visual.py, around a language block.
QUICK = (("prune", "torch.export"), ("fold", "torchscript"), ("das", "torchscript"))


@pytest.mark.parametrize(
    ("wrap", "file_format"),
    [
        pytest.param(wrap, form, id=f"{name}-{form}", marks=() if (name, form) in QUICK else pytest.mark.slow)
        for name, wrap in (("merge", MERGE), ("prune", PRUNE), ("fold", FOLD), ("das", SKIP_AND_MERGE))
        for form in FORMATS
    ],
)
def test_a_tower_that_shortens_exports(tmp_path, wrap, file_format):
    if file_format == "onnx":
        pytest.importorskip("onnxruntime")
    from adaptkit.deployment.export import export

    method = adaptkit.create_method("zero_shot", build("clip_vit"), ["cat", "dog", "whale"], wrap=wrap)
    exported = export(method, tmp_path / "file", file_format)  # refuses what differs, also for other numbers of images
    assert exported.agreement == 1


@pytest.mark.parametrize("order", [("token_merging", "fdt"), ("fdt", "token_merging")], ids="+".join)
def test_discrete_tokens_are_grounded_in_the_rows_of_all_patches(order, tiny_clip, batch):
    options = {"token_merging": TokenMergingConfig(r=3)}
    wrap = [(name, options[name]) if name in options else name for name in order]
    method = adaptkit.create_method("zero_shot", tiny_clip, ["cat", "dog", "whale"], wrap=wrap).eval()
    assert method.consumes == "images"
    with torch.no_grad():
        assert method.image_tokens(batch[0]).shape[1] == 17
        assert method(batch[0]).isfinite().all()

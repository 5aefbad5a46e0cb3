"""`adaptkit sinc train`, from its words to a file that the method reads."""

import pytest

import adaptkit
from adaptkit.features.sinc_meta import read_meta_model
from trainers.cli import main

SMALL = ["--steps", "2", "--batch-size", "2", "--width", "8", "--layers", "1", "--mlp-ratio", "1", "--views", "1"]


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))


def test_a_meta_model_is_trained_and_named(capsys):
    words = ["sinc", "train", "--datasets", "emoji_activities", "--hold-out", "icons", "--out", "meta.safetensors"]
    assert main([*words, *SMALL]) == 0
    assert "SINC_META.META_MODEL meta.safetensors" in capsys.readouterr().out
    backbone = adaptkit.load_backbone("adaptkit-mini")
    seen = read_meta_model("meta.safetensors", backbone).provenance.seen
    assert "badminton" in seen
    assert "ticket" not in seen  # a class of the icons
    method = adaptkit.create_method("sinc_meta", backbone, ["corgi", "husky"], meta_model="meta.safetensors")
    assert method.meta.shape.width == 8


def test_an_unknown_data_set_is_named(capsys):
    assert main(["sinc", "train", "--datasets", "emoji_activitys", *SMALL]) == 2
    assert "emoji_activitys" in capsys.readouterr().err

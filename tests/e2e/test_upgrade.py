"""`adaptkit upgrade`: fitted, reported, used for a search of an old index, killed and gone on from."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

import adaptkit
from adaptkit.features.xbt import load_compat
from benchmarks.second_clip import older, older_weights
from trainers.cli import main
from trainers.config.settings import CheckpointConfig
from trainers.feeding.kept_pixels import KeptPixels
from trainers.pairs.judging import Looking
from trainers.pairs.upgrade.main import WORK, UpgradeData, fit_upgrade
from trainers.pairs.upgrade.settings import XBTConfig
from trainers.training import checkpoints as files

SHORT = ["--epochs", "1", "--hidden", "16", "--pair-epochs", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with some of the embedded pairs, and the weights of an older model."""
    from datasets_fewshot.pairs.load import load_pairs

    folder = tmp_path_factory.mktemp("upgrade")
    whole, rows = load_pairs("mini_pairs"), []
    (folder / "images").mkdir()
    for part, count in (("train", 24), ("val", 8), ("test", 8)):
        for number, item in enumerate(getattr(whole, part)[:count]):
            whole.load(item).save(folder / "images" / f"{part}-{number}.png")
            rows.append(
                {"image": f"images/{part}-{number}.png", "captions": item.captions, "group": item.group, "split": part}
            )
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "more.txt").write_text("a small boat\na green door\n", encoding="utf-8")
    weights = older_weights(adaptkit.load_backbone("adaptkit-mini").model.state_dict(), seed=1)
    safetensors.torch.save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()}, folder / "older.safetensors"
    )
    return folder


@pytest.fixture(scope="module")
def old():
    return older(adaptkit.load_backbone("adaptkit-mini"), seed=1)


def fitted(place, out, *words):
    pairs, weights = str(place / "pairs.jsonl"), str(place / "older.safetensors")
    return main(["upgrade", "fit", "--pairs", pairs, "--old-checkpoint", weights, "--out", str(out), *SHORT, *words])


def test_fit_report_and_search(place, tmp_path, capsys):
    out, weights = tmp_path / "upgrade", str(place / "older.safetensors")
    assert fitted(place, out, "--captions", str(place / "more.txt"), "--noise", "0", "--noise", "1") == 0
    assert "stage 2: rsum" in capsys.readouterr().out
    assert not (out / WORK).exists()
    report = ["upgrade", "report", str(out), "--pairs", str(place / "pairs.jsonl"), "--device", "cpu"]
    assert main([*report, "--old-checkpoint", weights, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["report"]["images"] == 8
    assert {"XBT", "Procrustes, texts", "least squares, both"} <= set(content["report"]["ways"])
    assert main([*report, "--old-checkpoint", weights]) == 0
    assert "queries of the new model in the old gallery, XBT with stage 2: phi_image" in capsys.readouterr().out
    assert main(report) == 2  # the model without the weights is another one
    assert "as the old model, and was given" in capsys.readouterr().err

    index = str(tmp_path / "index")
    build = ["retrieve", "build", str(place / "images"), "--out", index, "--device", "cpu"]
    assert main([*build, "--backbone", "adaptkit-mini", "--checkpoint", weights]) == 0
    capsys.readouterr()
    search = ["retrieve", "search", index, "--text", "a cat", "--top", "2", "--device", "cpu", "--json"]
    assert main(search) == 2  # a gallery of another model stays an error
    assert "cannot be searched" in capsys.readouterr().err
    assert main([*search, "--upgrade", str(out)]) == 0
    by_text = json.loads(capsys.readouterr().out)["results"]
    assert len(by_text) == 2
    image = str(place / "images" / "val-0.png")
    assert main(["retrieve", "search", index, "--image", image, "--upgrade", str(out), "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main([*search, "--upgrade", str(out), "--checkpoint", weights]) == 2
    assert "as the new model" in capsys.readouterr().err
    assert main([*search, "--upgrade", str(out), "--adapter", "x"]) == 2
    assert "leave one of them out" in capsys.readouterr().err

    new_index = str(tmp_path / "new_index")
    assert main(["retrieve", "build", str(place / "more.txt"), "--out", new_index, "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main(["retrieve", "search", new_index, "--text", "a", "--upgrade", str(out), "--device", "cpu"]) == 2
    assert "by the upgrade 'upgrade' from adaptkit-mini" in capsys.readouterr().err


def data(place):
    from datasets_fewshot.pairs.load import load_pairs

    return UpgradeData(load_pairs(place / "pairs.jsonl"))


def fit(place, old, out, config, checkpoint=None):
    looking, new = Looking("fp32", 0, KeptPixels()), adaptkit.load_backbone("adaptkit-mini")
    return fit_upgrade(old, new, data(place), config, looking, lambda message: None, out, checkpoint)


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"stage2": "lora", "rank": 2}, marks=pytest.mark.slow)], ids=["phi_image", "lora"]
)
def test_an_interrupted_fit_ends_with_the_same_bits(place, old, tmp_path, monkeypatch, options):
    config = XBTConfig(epochs=2, hidden=8, batch_size=32, pair_epochs=2, pair_batch_size=12, **options)
    fit(place, old, tmp_path / "whole", config)
    save, saved = files.Checkpoints.save, []

    def stop(self, snapshot):
        save(self, snapshot)
        saved.append(self.folder.parent.name)
        if len(saved) in (2, 6):
            raise KeyboardInterrupt

    monkeypatch.setattr(files.Checkpoints, "save", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit(place, old, tmp_path / "cut", config, CheckpointConfig(steps=1))
    monkeypatch.setattr(files.Checkpoints, "save", save)
    assert list((tmp_path / "cut" / WORK).glob("features-*.safetensors"))
    fit(place, old, tmp_path / "cut", config, CheckpointConfig(steps=1))
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["upgrade.json", "upgrade.safetensors"]
    one, other = ((tmp_path / name / "upgrade.safetensors").read_bytes() for name in ("whole", "cut"))
    assert one == other


def test_low_rank_updates_learn_and_the_text_tower_may_stay(place, old, tmp_path):
    config = XBTConfig(
        epochs=1, hidden=8, stage2="lora", rank=2, pair_epochs=1, pair_batch_size=12, frozen_texts=True, pair_lr=1e-2
    )
    compat, result = fit(place, old, tmp_path / "out", config)
    assert len(result.pair_losses) == 1
    loaded = load_compat(tmp_path / "out", compat.backbone)
    assert loaded.stage2 == "lora"
    names = loaded.lora.learnt_state()
    assert names
    assert all(name.startswith("vision_updates") for name in names)
    assert torch.equal(loaded.encode_query(["a cat"]), loaded.map_texts(compat.backbone.encode_text(["a cat"])))


def test_a_folder_with_something_else_is_left_alone(place, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert fitted(place, tmp_path) == 2
    assert "holds 'notes.txt' and is no upgrade" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert fitted(place, tmp_path / "out", "--frozen-texts") == 2
    assert "--frozen-texts is of --stage2 lora" in capsys.readouterr().err


def test_a_diverging_fit_saves_nothing(place, tmp_path, capsys):
    assert fitted(place, tmp_path / "out", "--lr", "1e30") == 2
    assert "lower --lr" in capsys.readouterr().err
    assert not (tmp_path / "out" / "upgrade.json").exists()

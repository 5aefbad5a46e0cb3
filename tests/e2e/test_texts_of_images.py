"""Objectives whose texts belong to single images, through the command: the adapter holds none of the texts."""

import json

import pytest

import adaptkit
from tests.e2e.test_fit import own_folder
from tests.helpers.synthetic import NAMES
from trainers.cli import main


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    folder = own_folder(tmp_path)
    captions = {name: [f"{name} in red", f"{name} in blue", "small"] for name in NAMES}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    images = sorted(folder.rglob("*.png"))
    lines = [json.dumps({"filename": path.name, "description": f"picture {path.stem}"}) for path in images]
    (tmp_path / "descriptions.jsonl").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize(
    "settings",
    [
        ["OBJECTIVE", '["gist"]', "GIST.CAPTIONS", "captions.json"],
        ["OBJECTIVE", '["gpt4image"]', "GPT4IMAGE.DESCRIPTIONS", "descriptions.jsonl"],
    ],
    ids=["gist", "gpt4image"],
)
def test_it_trains_on_own_images_and_leaves_a_plain_adapter(home, settings, capsys):
    words = ["train", "clip_adapter", "--data", "photos", "--out", "mine", *settings, "OPTIM.EPOCHS", "2"]
    assert main(words) == 0
    adapter = adaptkit.load(home / "mine")
    plain = adaptkit.create_method("clip_adapter", adapter.backbone, adapter.classes)
    assert adapter.learnt_state().keys() == plain.learnt_state().keys()
    identities = [json.loads(path.read_text())["identity"] for path in (home / "mine" / "runs").rglob("record.json")]
    (objective,) = next(one["objective"] for one in identities if one["method"] == "clip_adapter")
    assert objective[0] in settings[1]
    assert settings[3] not in json.dumps(objective)  # the file by its hash, not by its path
    (home / settings[3]).unlink()
    assert adaptkit.load(home / "mine").classes == adapter.classes  # nothing asks for the file again
    capsys.readouterr()
    assert main([*words[:-1], "3"]) == 2
    assert f"there is no file of texts '{settings[3]}'; check the path" in capsys.readouterr().err

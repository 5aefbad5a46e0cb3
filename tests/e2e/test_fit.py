"""`adaptkit train` and `adaptkit.fit`: a folder of images in, a tested adapter out, read back as a user would."""

import contextlib
import json
import os
import shutil
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from PIL import Image

import adaptkit
from adaptkit.artefacts.atomic_file import replacing
from adaptkit.front_door import ENTRY_POINTS
from tests.e2e.test_cli import run_adaptkit
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.cli import main


def own_folder(folder: Path) -> Path:
    """Four class folders of ten images each."""
    source = synthetic_dataset(folder / "source", train=10)
    for item in source.split.train:
        place = folder / "photos" / NAMES[item.label] / Path(item.path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        source.path(item).rename(place)
    return folder / "photos"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, started):
    home = tmp_path_factory.mktemp("home")
    own_folder(home)
    answer = run_adaptkit(
        started, ["train", "taskres", "--data", "photos", "--out", "mine", "OPTIM.EPOCHS", "20"], home
    )
    assert answer.returncode == 0, answer.stderr
    return home, answer


def test_the_command_leaves_an_adapter_that_predicts(trained):
    home, answer = trained
    method = adaptkit.load(home / "mine")
    assert set(method.classes.classnames) == set(NAMES)
    images = sorted((home / "photos").rglob("*.png"))
    assert len(method.predict(images)) == 40
    assert "against zero-shot" in answer.stdout
    assert "adaptkit predict mine photo.jpg" in answer.stdout


def test_the_summary_is_kept_and_agrees_with_the_record(trained):
    home, answer = trained
    summary = json.loads((home / "mine" / "summary.json").read_text())
    records = [json.loads(path.read_text()) for path in (home / "mine" / "runs").rglob("record.json")]
    scores = {record["method"]: record["scores"][0] for record in records}
    assert summary["accuracy"] == scores["taskres"]["metrics"]["accuracy"]
    assert summary["zero_shot_accuracy"] == scores["zero_shot"]["metrics"]["accuracy"]
    assert f"{summary['accuracy']:.2f}" in (home / "mine" / "README.md").read_text()
    assert (home / "mine" / "summary.txt").read_text() in answer.stdout
    majority = summary["majority"]["accuracy"]
    assert f"the most frequent class, is right for {majority:.1f} %" in answer.stdout
    assert sum(row["images"] for row in summary["per_class"]) == summary["test_images"]
    assert (home / "mine" / "confusion_matrix.csv").read_text().startswith("index,true class,")
    wrong = scores["taskres"]["total"] - scores["taskres"]["correct"]
    assert len(summary["worst_images"]) == min(16, wrong)
    sheet = home / "mine" / "worst_images.png"
    assert sheet.is_file() == bool(wrong)
    if wrong:
        Image.open(sheet).verify()


def test_the_same_command_again_reuses_the_training(trained, monkeypatch, capsys):
    home, first = trained
    monkeypatch.chdir(home)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(home / "cache"))
    assert main(["train", "taskres", "--data", "photos", "--out", "mine", "OPTIM.EPOCHS", "20"]) == 0
    output = capsys.readouterr()
    assert output.out == first.stdout
    assert "taskres on cpu" not in output.err


def test_a_training_that_was_killed_while_it_saved_goes_on(trained, monkeypatch):
    home, _ = trained
    monkeypatch.chdir(home)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(home / "cache"))
    shutil.copytree("mine", "killed")
    for path in (home / "killed").iterdir():
        if path.is_file() and path.name not in ("learnt.safetensors", "README.md"):  # these are written first
            path.unlink()
    pid = os.fork()
    if not pid:  # a process that ends as if it were killed within the write of the config
        replacing(home / "killed" / "adapter_config.json").__enter__().write_text("half")
        os._exit(0)
    os.waitpid(pid, 0)
    for record in (home / "killed").rglob("record.json"):
        (record.parent / "checkpoints").mkdir()
        (record.parent / "checkpoints" / "000000001-0a.safetensors").touch()
    assert main(["train", "taskres", "--data", "photos", "--out", "killed", "OPTIM.EPOCHS", "20"]) == 0
    names = [{path.relative_to(home / out) for path in (home / out).rglob("*")} for out in ("mine", "killed")]
    assert names[0] == names[1]
    assert (home / "mine" / "adapter_config.json").read_bytes() == (home / "killed/adapter_config.json").read_bytes()


def test_a_folder_with_runs_and_a_page_of_somebody_else_is_no_adapter(trained, monkeypatch, capsys):
    home, _ = trained
    monkeypatch.chdir(home)
    (home / "project" / "runs").mkdir(parents=True)
    (home / "project" / "README.md").write_text("mine")
    assert main(["train", "taskres", "--data", "photos", "--out", "project"]) == 2
    assert "project exists and is no adapter" in capsys.readouterr().err
    assert (home / "project" / "README.md").read_text() == "mine"


def test_training_starts_from_an_adapter_and_says_so(trained, monkeypatch, capsys):
    home, _ = trained
    monkeypatch.chdir(home)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(home / "cache"))
    words = ["train", "taskres", "--data", "photos", "--start-from", "mine", "--out", "further", "OPTIM.STEPS", "1"]
    assert main([*words, "OPTIM.LR", "1e-30", "OPTIM.WARMUP_EPOCHS", "0"]) == 0  # a step that moves nothing
    output = capsys.readouterr()
    first, further = (adaptkit.load(home / name).learnt_state() for name in ("mine", "further"))
    assert all(torch.allclose(further[name], tensor) for name, tensor in first.items())
    assert "note: training started from the adapter 'mine' (learnt tensors " in output.out
    assert "started from the adapter 'mine'" in (home / "further" / "summary.json").read_text()
    assert main([*words, "OPTIM.LR", "1e-30", "OPTIM.WARMUP_EPOCHS", "0"]) == 0
    assert "taskres on cpu" not in capsys.readouterr().err  # the same start, so the record is taken
    assert main([*words[:4], *words[6:], "OPTIM.LR", "1e-30", "OPTIM.WARMUP_EPOCHS", "0"]) == 0
    assert "taskres on cpu" in capsys.readouterr().err  # a run of its own, which starts as the method does


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["coop"], "is of taskres, and coop is to be trained"),
        (["zero_shot"], "zero_shot learns nothing, so it cannot start from mine"),
        (["linear_probe"], "it takes no training steps, so a start from an adapter would change nothing"),
        (["taskres", "TASKRES.ALPHA", "0.25"], "learnt with TASKRES.ALPHA 0.5, and now it is 0.25"),
        (["taskres", "--classnames", "renamed.tsv"], "belongs to its own 4 classes in their order, and number "),
        (["taskres", "--out", "mine"], "mine is where training starts from and where it would be saved"),
        (["taskres", "--start-from", "photos"], "photos has no adapter_config.json"),
        (["taskres", "--start-from", "pipe"], "pipe is neither a folder nor a zip archive"),
        (["taskres", "--start-from", ""], "argument --start-from: it is empty"),
        (["zero_shot", "--start-from", ""], "argument --start-from: it is empty"),
    ],
)
def test_a_start_that_does_not_fit_is_one_line(trained, words, message, monkeypatch, capsys):
    home, _ = trained
    monkeypatch.chdir(home)
    if not (home / "pipe").exists():
        os.mkfifo(home / "pipe")
    names = [(name, "thing" if name == NAMES[0] else name) for name in NAMES]
    (home / "renamed.tsv").write_text("".join(f"{old}\t{new}\n" for old, new in names))
    with contextlib.suppress(SystemExit):
        assert (
            main(["train", *words[:1], "--data", "photos", "--out", "refused", "--start-from", "mine", *words[1:]]) == 2
        )
    error = capsys.readouterr().err
    assert message in error
    assert sum(line.startswith("adaptkit") for line in error.splitlines()) == 1
    assert not (home / "refused" / "adapter_config.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["taskres", "--data", "nowhere"], "there is nothing at 'nowhere'"),
        (["tasckres", "--data", "photos"], "unknown method 'tasckres'; did you mean taskres"),
        (["taskres", "--data", "photos", "--out", "photos"], "photos exists and is no adapter"),
    ],
)
def test_a_mistake_is_one_line(trained, words, message, monkeypatch, capsys):
    monkeypatch.chdir(trained[0])
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_fit_is_the_same_from_python(tmp_path, monkeypatch):
    if not entry_points(group=ENTRY_POINTS):
        pytest.skip("the installed metadata are older than setup.cfg: pip install -e . again")
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    messages: list[str] = []
    result = adaptkit.fit("zero_shot", own_folder(tmp_path), on_message=messages.append)
    assert result.folder == Path("photos-zero_shot")
    assert result.accuracy == result.zero_shot_accuracy
    assert messages[0] == "4 classes, 4 shots, 12 test images"
    assert adaptkit.load(result.folder).classes.classnames == result.method.classes.classnames


def test_without_a_trainer_fit_says_what_to_install(monkeypatch):
    monkeypatch.setattr("adaptkit.front_door.entry_points", lambda group: [])
    with pytest.raises(ImportError, match="install adaptkit-clip anew"):
        adaptkit.fit("coop", "photos")

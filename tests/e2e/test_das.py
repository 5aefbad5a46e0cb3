"""DAS through the command: search, train, look, train again with an edited file, compare with controls."""

import json

import pytest
import torch
from PIL import Image

from adaptkit import load
from trainers.cli import main
from trainers.studies.das import controls, latency

QUICK = ["OPTIM.STEPS", "2", "DAS.SEARCH_STEPS", "4", "DAS.REWARD_BATCH", "16"]
ONE = ["--datasets", "emoji_activities", "--seeds", "1"]
VISION = ["--skip-text", "0", "DAS.ENCODER", "vision"]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))


def records(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/*/*/record.json"))]


def test_a_bench_searches_trains_and_keeps_the_architecture(tmp_path, capsys, monkeypatch):
    assert main(["bench", "--methods", "coop", "--wrap", "das", *ONE, "--skip-vision", "2", *VISION, *QUICK]) == 0
    (record,) = records(tmp_path / "runs")
    found = record["architecture"]
    assert len(found["vision"]["skipped"]) == 2
    assert len(found["vision"]["gates"]) == 6
    assert found["macs"]["image"] < found["macs"]["image_as_loaded"]
    assert record["seconds"]["search"] > 0
    assert "coop+das" in capsys.readouterr().out
    (path,) = (tmp_path / "runs").glob("*/*/*/architecture.json")
    assert json.loads(path.read_text()) == found

    assert main(["save", str(path.parent), "--out", "adapter"]) == 0  # with the blocks that were found
    method = load(tmp_path / "adapter")
    assert list(method.architecture().vision.skipped) == found["vision"]["skipped"]

    assert main(["das", "show", str(path)]) == 0
    assert "skips " + ", ".join(map(str, found["vision"]["skipped"])) in capsys.readouterr().out

    found["vision"]["skipped"] = [0]
    edited = tmp_path / "mine.json"
    edited.write_text(json.dumps(found))
    given = ["--architecture", str(edited), "--out", "again", "DAS.ENCODER", "vision"]
    assert main(["bench", "--methods", "zero_shot", "--wrap", "das", *ONE, *given, *QUICK]) == 0
    (record,) = records(tmp_path / "again")
    assert record["architecture"]["vision"]["skipped"] == [0]
    assert "search" not in record["seconds"]
    capsys.readouterr()

    monkeypatch.setattr(latency, "BATCHES", (1, 2))
    assert main(["das", "report", "again", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["label"], row["vision"], row["runs"]) == ("zero_shot+das", [0], 1)
    assert row["macs_per_image"] == record["architecture"]["macs"]["image"]
    assert row["training_macs_per_step"] > record["identity"]["optim"]["batch_size"] * row["macs_per_image"]


@pytest.mark.slow
def test_the_same_search_alone_finds_the_same_blocks(tmp_path):
    words = ["DAS.SKIP_VISION", "2", *VISION[2:], *QUICK]
    assert main(["bench", "--methods", "zero_shot", "--wrap", "das", *ONE, "DAS.SKIP_TEXT", "0", *words]) == 0
    assert main(["das", "search", *ONE, "--skip-text", "0", "--out", "a.json", *words]) == 0
    (record,) = records(tmp_path / "runs")
    assert json.loads((tmp_path / "a.json").read_text()) == record["architecture"]


def test_controls_are_run_by_one_command_and_drawn(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason="the plot needs the extra 'report'")
    monkeypatch.setattr(controls, "CONTROLS", {"last": controls.CONTROLS["last"]})
    monkeypatch.setattr(latency, "BATCHES", (1, 2))
    assert main(["das", "controls", *ONE, "--skip-vision", "1", *VISION, *QUICK]) == 0
    content = json.loads((tmp_path / "runs" / "das_controls.json").read_text())
    assert [row["control"] for row in content["rows"]] == ["no skip", "last, 1 skipped"]
    assert all(len(row["latency"]["seconds"]) == 2 for row in content["rows"])
    assert all((tmp_path / "runs" / f"das_controls.{suffix}").stat().st_size > 1000 for suffix in ("png", "svg"))
    assert "| last, 1 skipped |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--skip-vision", "2"], "add --wrap das"),
        (["--wrap", "das", "--architecture", "none.json"], "none.json"),
        (["--wrap", "das", "--skip-vision", "7"], "has 6 blocks"),
        (["--wrap", "das", "--skip-text", "1", "DAS.ENCODER", "vision"], "leaves that tower as it is"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words, message, capsys):
    assert main(["bench", "--methods", "zero_shot", *ONE, *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") <= 2


@pytest.mark.slow
def test_stand_ins_are_distilled_and_started_from(tmp_path, capsys):
    drawings = tmp_path / "drawings"
    drawings.mkdir()
    generator = torch.Generator().manual_seed(0)
    for index in range(6):
        pixels = torch.randint(0, 255, (8, 8, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).resize((60, 48)).save(drawings / f"{index}.png")
    words = ["--images", str(drawings), "--steps", "12", "--batch-size", "3", "--out", "stand_ins.safetensors"]
    assert main(["das", "distill", *words]) == 0
    said = capsys.readouterr().out
    assert "pass 6 of 6 over 6 images" in said
    assert "adaptkit bench --wrap das --stand-ins stand_ins.safetensors" in said

    bench = ["bench", "--methods", "zero_shot", "--wrap", "das", *ONE, "--skip-vision", "2", *VISION[:2]]
    for name in ("stand_ins.safetensors", "adaptkit-mini"):
        assert main([*bench, "--stand-ins", name, *VISION[2:], *QUICK]) == 0
    found = [record["identity"]["wrap"][0][1] for record in records(tmp_path / "runs")]
    assert [options["init"] for options in found] == ["distilled", "distilled"]
    assert len({options["stand_ins"] for options in found}) == 2

    (run, _) = (path.parent for path in sorted((tmp_path / "runs").glob("*/*/*/record.json")))
    (tmp_path / "stand_ins.safetensors").unlink()
    assert main(["save", str(run), "--out", "adapter"]) == 0  # and what is saved needs the file no more
    assert load(tmp_path / "adapter").architecture() is not None


def test_stand_ins_that_are_not_there_are_refused_before_any_run(tmp_path, capsys):
    bench = ["bench", "--methods", "zero_shot", "--wrap", "das", *ONE, *VISION[:2]]
    assert main([*bench, "--stand-ins", "gone.safetensors", *VISION[2:]]) != 0
    assert "there is no file 'gone.safetensors'" in capsys.readouterr().err

"""`adaptkit continual`: phases in, an adapter for each and a matrix out; killed and gone on from; refusals."""

import json

import pytest
import torch

import adaptkit
from datasets_fewshot.pairs.load import load_pairs
from trainers.cli import command, main
from trainers.pairs.continual import main as runner
from trainers.pairs.main import Tuning
from trainers.training import checkpoints as files

SHORT = ["OPTIM.STEPS", "2", "OPTIM.BATCH_SIZE", "16", "VIEWS.AUGMENT", "none"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of some of the embedded pairs."""
    folder, whole, rows = tmp_path_factory.mktemp("pairs"), load_pairs("mini_pairs"), []
    for part, count in (("train", 40), ("val", 6), ("test", 12)):
        for place, item in enumerate(getattr(whole, part)[:count]):
            whole.load(item).save(folder / f"{part}-{place}.png")
            captions = item.captions[:2]
            rows.append({"image": f"{part}-{place}.png", "captions": captions, "group": item.group, "split": part})
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def words(table, out, *more, method="clip_adapter", strategies="modx"):
    given = ["continual", method, "--pairs", str(table), "--phases", "2", "--by", "order", "--out", str(out)]
    return [*given, "--strategies", strategies, "--guard", "none", "--device", "cpu", *SHORT, *more]


def learnt(folder):
    return adaptkit.load(folder).learnt_state()


def test_all_strategies_train_judge_and_save(table, tmp_path, capsys):
    out = tmp_path / "out"
    names = "modx,sequential,lwf,l2,averaging,joint,zero_shot"
    asked = words(table, out, "MODX.ALIGN_TAU", "0.07", "MODX.ALPHA", "1", "L2_DELTA.ALPHA", "10", strategies=names)
    assert main(asked) == 0
    printed = capsys.readouterr()
    assert "forgetting" in printed.out
    assert "modx, phase 2, epoch 1: loss" in printed.err
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["domains"] == ["phase 1", "phase 2"]
    found = summary["strategies"]
    assert {name: len(own["phases"]) for name, own in found.items()} == {
        "modx": 2, "sequential": 2, "lwf": 2, "l2": 2, "averaging": 2, "joint": 1, "zero_shot": 0,
    }  # fmt: skip
    assert {"average", "forgetting", "learning", "forward_transfer"} == set(found["modx"]["measures"]["rsum"])
    assert found["modx"]["phases"][0]["drift"]["deviation"] >= 0
    assert summary["before"]["guard"] is None
    first, second = (learnt(out / "sequential" / f"phase_{number}") for number in (1, 2))
    last = learnt(out / "sequential" / "final")
    assert all(torch.equal(tensor, second[name]) for name, tensor in last.items())
    assert any(not torch.equal(tensor, first[name]) for name, tensor in second.items())
    assert not list(out.rglob(files.CHECKPOINTS))
    once, half = learnt(out / "sequential" / "phase_1"), learnt(out / "averaging" / "phase_1")
    new = adaptkit.create_method("clip_adapter", adaptkit.load_backbone("adaptkit-mini"), None)
    assert once.keys() == half.keys() == new.learnt_state().keys()


@pytest.mark.slow
def test_what_was_interrupted_goes_on_to_the_same_bits(table, tmp_path, monkeypatch):
    assert main(words(table, tmp_path / "whole", method="clip_lora")) == 0  # which draws dropout
    asked = words(table, tmp_path / "cut", "CHECKPOINT.STEPS", "1", method="clip_lora")
    save, saved = files.Checkpoints.save, []

    def stop(self, snapshot):
        save(self, snapshot)
        saved.append(snapshot.steps)
        if len(saved) == 3:  # in the first step of the second phase
            raise KeyboardInterrupt

    monkeypatch.setattr(files.Checkpoints, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        command.run(asked)
    monkeypatch.setattr(files.Checkpoints, "save", save)
    begun = []
    train = Tuning.train
    monkeypatch.setattr(Tuning, "train", lambda self, told: begun.append(self.request.out.name) or train(self, told))
    assert main(asked) == 0
    assert begun == ["phase_2"]
    for name in ("phase_1", "phase_2", "final"):
        one, other = (learnt(tmp_path / run / "modx" / name) for run in ("whole", "cut"))
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    summaries = [json.loads((tmp_path / run / "summary.json").read_text()) for run in ("whole", "cut")]
    one, other = (summary["strategies"]["modx"] for summary in summaries)
    assert one["matrices"] == other["matrices"]
    assert one["phases"][1]["drift"] == other["phases"][1]["drift"]


def test_a_finished_run_is_read_and_another_is_refused(table, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert main(words(table, out)) == 0
    text = (out / "summary.txt").read_text()
    monkeypatch.setattr(runner._Continual, "_phase", None)  # nothing may be trained
    assert main(words(table, out)) == 0
    assert (out / "summary.txt").read_text() == text
    assert main(words(table, out, "--seed", "2")) == 2
    assert "is of another run" in capsys.readouterr().err
    (out / "modx" / "phase_1" / "phase.json").write_text('{"identity": 1}')
    assert main(words(table, out)) == 2
    assert "is no phase that was written here" in capsys.readouterr().err


def test_what_cannot_be_done_is_refused_before_anything_is_written(table, tmp_path, capsys):
    out = tmp_path / "out"
    base = ["continual", "clip_adapter", "--out", str(out), "--guard", "none"]
    for asked, complaint in (
        ([*base, "--pairs", str(table)], "--pairs is given once and --phases is not given"),
        ([*base, "--pairs", str(table), "--pairs", str(table), "--phases", "2"], "--pairs is given 2 times"),
        (words(table, out, strategies="ewc"), "--strategies: there is no 'ewc'"),
        (words(table, out, "SIGLIP.SCALE", "frozen"), "SIGLIP takes no part"),
        ([*words(table, out), "--phases", "30"], "ask for fewer --phases"),
    ):
        assert main(asked) == 2
        assert complaint in capsys.readouterr().err
        assert not out.exists()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert main(words(table, out)) == 2
    assert "holds 'notes.txt' and no continual training" in capsys.readouterr().err

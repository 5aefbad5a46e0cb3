"""`adaptkit tune`: pairs in, an adapter out; killed and gone on from; alone and with another process."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import adaptkit
from trainers.cli import main
from trainers.compute.team import ALONE
from trainers.pairs.main import Tuning, tune
from trainers.pairs.result import TuneRequest
from trainers.pairs.settings import pair_settings
from trainers.pairs.together import tune_together
from trainers.training import checkpoints as files

SHORT = ["OPTIM.STEPS", "4", "OPTIM.BATCH_SIZE", "32", "VIEWS.AUGMENT", "none"]


@pytest.fixture
def few_pairs(tmp_path):
    """A table of some of the embedded pairs."""
    from datasets_fewshot.pairs.load import load_pairs

    whole = load_pairs("mini_pairs")
    rows = []
    for part, count in (("train", 64), ("val", 12), ("test", 12)):
        for place, item in enumerate(getattr(whole, part)[:count]):
            whole.load(item).save(tmp_path / f"{part}-{place}.png")
            rows.append({"image": f"{part}-{place}.png", "captions": item.captions, "group": item.group, "split": part})
    table = tmp_path / "pairs.jsonl"
    table.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return table


def request(table, out, *words, method="clip_lora", objective="info_nce", **more):
    settings = pair_settings(method, (), objective, [*SHORT, *words])
    return TuneRequest(table, Path(out), settings, "adaptkit-mini", device="cpu", **more)


def quiet(message):
    return None


def learnt(folder):
    return adaptkit.load(folder).learnt_state()


def test_two_words_train_judge_and_save(few_pairs, tmp_path, capsys):
    out = tmp_path / "mine"
    words = ["tune", "clip_lora", "--pairs", str(few_pairs), "--out", str(out), "--guard", "emoji_activities", *SHORT]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "images by text, recall@1 (%)" in printed.out
    assert "epoch 2: loss" in printed.err
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["pairs"]["train"], len(summary["places"])) == (64, 5)
    assert summary["guard_before"] > 0
    method = adaptkit.load(out)
    method.set_classes(["cat", "dog"])
    assert method(torch.rand(2, 3, 48, 48)).shape == (2, 2)
    assert not (out / files.CHECKPOINTS).exists()


@pytest.mark.parametrize(
    ("method", "objective"),
    [
        ("clip_lora", "info_nce"),  # which learns in both towers
        pytest.param("vpt", "info_nce", marks=pytest.mark.slow),
        pytest.param("clip_lora", "svlc", marks=pytest.mark.slow),
        pytest.param("coop", "info_nce", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_training_ends_with_the_same_bits(few_pairs, tmp_path, monkeypatch, method, objective):
    tune(request(few_pairs, tmp_path / "whole", method=method, objective=objective), quiet)
    asked = request(few_pairs, tmp_path / "cut", "CHECKPOINT.STEPS", "1", method=method, objective=objective)
    save, saved = files.Checkpoints.save, []

    def stop(self, snapshot):
        save(self, snapshot)
        saved.append(snapshot.steps)
        if snapshot.steps == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(files.Checkpoints, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        tune(asked, quiet)
    monkeypatch.setattr(files.Checkpoints, "save", save)
    tune(asked, quiet)
    assert saved == [1, 2, 3]
    whole, gone_on = learnt(tmp_path / "whole"), learnt(tmp_path / "cut")
    assert all(torch.equal(tensor, gone_on[name]) for name, tensor in whole.items())


def test_a_file_of_the_objective_that_changed_makes_it_another_training(few_pairs, tmp_path):
    words = tmp_path / "words.txt"
    identities = []
    for colours in ("red\nblue\n", "red\nblue\n", "red\ngreen\n"):
        words.write_text(f"[colour]\n{colours}", encoding="utf-8")
        asked = request(few_pairs, tmp_path / "out", "SVLC.WORDS", str(words), objective="svlc")
        identities.append(Tuning(asked, ALONE).identity())
    assert identities[0] == identities[1] != identities[2]


def test_a_loss_that_is_not_finite_names_its_step_and_saves_nothing(few_pairs, tmp_path, capsys):
    words = ["tune", "clip_lora", "--pairs", str(few_pairs), "--out", str(tmp_path / "out"), "--guard", "none"]
    assert main([*words, *SHORT, "OPTIM.LR", "1e30", "OPTIM.CLIP_NORM", "0"]) == 2
    assert "the loss is nan in step 2; lower OPTIM.LR" in capsys.readouterr().err
    assert not (tmp_path / "out" / "adapter_config.json").exists()


def test_what_became_worse_is_said(few_pairs, tmp_path, capsys):
    words = ["tune", "coop", "--pairs", str(few_pairs), "--out", str(tmp_path / "out"), "--guard", "none"]
    assert main([*words, "OPTIM.STEPS", "1", "OPTIM.BATCH_SIZE", "32"]) == 0  # from random words
    assert "worse than adaptkit-mini without training" in capsys.readouterr().out


def test_two_processes_learn_what_one_does(few_pairs, tmp_path):
    words = ["OPTIM.NAME", "sgd", "OPTIM.LR", "0.1", "CLIP_LORA.DROPOUT", "0"]  # Adam would enlarge rounding
    tune(request(few_pairs, tmp_path / "one", *words), quiet)
    tune_together(request(few_pairs, tmp_path / "two", *words), 2)
    one, two = learnt(tmp_path / "one"), learnt(tmp_path / "two")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-6)


def test_what_cannot_be_trained_is_refused_before_anything_is_written(few_pairs, tmp_path):
    out = tmp_path / "out"
    for made, words in (
        (request(few_pairs, out, method="zero_shot"), "changes the features of no image and no text"),
        (replace(request(few_pairs, out), data=tmp_path / "nothing.csv"), "nothing.csv"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            tune(made, quiet)
    assert not out.exists()
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        tune(request(few_pairs, taken), quiet)
    with pytest.raises(ValueError, match="cross_entropy"):
        pair_settings("clip_lora", (), "cross_entropy", [])
    with pytest.raises(ValueError, match="MAPLE takes no part"):
        pair_settings("clip_lora", (), "info_nce", ["MAPLE.N_CTX", "2"])

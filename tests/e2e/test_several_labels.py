"""Several labels per image through the command: from a table to a trained, tested, answering and exported adapter."""

import json
from pathlib import Path

import pytest
from PIL import Image

import adaptkit
from benchmarks.collages import LABELS, write_collages
from trainers.cli import main
from trainers.fit.multi_label import kept, training
from trainers.training.checkpoints import Checkpoints
from trainers.training.few_shot import train

STOPPED = 130
TRAIN, TEST = 60, 24
QUICK = ["--shots", "4", "OPTIM.EPOCHS", "3"]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return write_collages(tmp_path_factory.mktemp("collages"), TRAIN, TEST)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_with_several_labels_is_learnt_tested_and_answered(table, here, capsys):
    assert main(["train", "coop", "--data", str(table), "--out", "mine", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "mean average precision" in said
    assert "against zero-shot" in said
    summary = json.loads(Path("mine/summary.json").read_text())
    assert summary["labels_per_image"] == "several"
    assert [row["name"] for row in summary["per_label"]] == list(LABELS)
    assert Path("mine/summary.txt").read_text().strip() in said
    assert Path("mine/labels.csv").read_text().startswith("index,name,images")
    assert Image.open("mine/worst_images.png").size[0] > 100

    assert main(["report", "mine", "--out", "page.html"]) == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "What is not shown" not in page
    for row in summary["per_label"]:
        assert f'<td class="words">{row["name"]}</td>' in page
        assert f"<td>{100 * row['threshold']:.1f}</td>" in page
    capsys.readouterr()

    assert main(["eval", "mine", "--data", str(table), "--json", "--out", "judged"]) == 0
    judged = json.loads(capsys.readouterr().out)
    for name in ("mean_average_precision", "micro_f1", "macro_f1", "exact"):
        assert judged[name] == pytest.approx(summary[name], abs=1e-4)
    assert json.loads(Path("judged/metrics.json").read_text()) == judged

    pictures = [str(table.parent / "pictures" / f"test_{number:04}.png") for number in range(TEST)]
    assert main(["predict", "mine", *pictures, "--json", "--topk", "2"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answered = [sum(name in row["labels"] for row in rows) for name in LABELS]
    assert answered == [row["answered"] for row in judged["per_label"]]
    assert all(len(row["classes"]) == 2 for row in rows)
    assert main(["predict", "mine", pictures[0], "--reject", "1"]) == 0
    assert "none of the labels (" in capsys.readouterr().out

    assert main(["export", "mine", "--format", "torchscript", "--out", "mine.pt"]) == 0


def test_the_same_seed_gives_the_same_thresholds_and_test_images_choose_nothing(table, here):
    first = adaptkit.fit("linear_probe", table, "first", shots=4)
    lines = table.read_text().splitlines()
    # The test images have other labels now, and nothing but the results may differ.
    changed = [
        f"{line.split(',')[0]},{LABELS[0]}|{LABELS[1]},test" if line.endswith(",test") else line for line in lines
    ]
    other = table.with_name("changed.csv")
    other.write_text("\n".join(changed) + "\n")
    second = adaptkit.fit("linear_probe", other, "second", shots=4)
    assert isinstance(first, adaptkit.MultiLabelFitResult)
    assert isinstance(second, adaptkit.MultiLabelFitResult)
    assert first.method.label_thresholds.tolist() == second.method.label_thresholds.tolist()
    assert first.method.learnt_state().keys() == second.method.learnt_state().keys()
    for name, tensor in first.method.learnt_state().items():
        assert tensor.equal(second.method.learnt_state()[name]), name
    assert first.mean_average_precision != second.mean_average_precision


def test_options_of_the_wrapper_and_images_in_every_step(table, here):
    words = ["--shots", "1", "OPTIM.STEPS", "2", "MULTI_LABEL.GAMMA_NEGATIVE", "4", "MULTI_LABEL.MARGIN", "0.05"]
    assert main(["train", "clip_lora", "--data", str(table), "--out", "lora", *words]) == 0
    method = adaptkit.load("lora")
    assert method.spec.wrappers[0][1].gamma_negative == 4
    assert any(
        "so the threshold is the one" in note for note in json.loads(Path("lora/summary.json").read_text())["notes"]
    )


def test_one_training_image_leaves_thresholds_at_one_half(table, here):
    heading, *rows = table.read_text().splitlines()
    first = next(row for row in rows if "|" in row and row.endswith(",train"))
    tested = [row for row in rows if row.endswith(",test") and row.split(",")[1] in first.split(",")[1].split("|")]
    one = table.with_name("one.csv")
    one.write_text("\n".join([heading, first, *tested]) + "\n")
    result = adaptkit.fit("zero_shot", one, "one")
    assert result.method.label_thresholds.tolist() == [0, 0]
    assert any("cannot be divided" in note for note in result.notes)
    assert not any("folds of the training" in note for note in result.notes)


REFUSED = {
    "start": (["--start-from", "earlier"], "start_from='earlier' is for images of one class each"),
    "split": (["--split", "mine.json"], "give the parts in a column of the table"),
    "smoothing": (["OPTIM.LABEL_SMOOTHING", "0.1"], "OPTIM.LABEL_SMOOTHING is for images of one class each"),
    "names": (["--classnames", "two.txt"], "2 names for 8 classes"),
    "shots": (["--shots", "0"], "--shots"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_with_several_labels_is_refused(case, table, here, capsys):
    words, message = REFUSED[case]
    Path("two.txt").write_text("map\nfolder\n")
    assert main(["train", "coop", "--data", str(table), "--out", "mine", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_method_that_cannot_says_why_before_anything_is_trained(table, here, capsys):
    assert main(["train", "tip_adapter", "--data", str(table), "--out", "mine"]) == 2
    assert "prepared with images of one class each" in capsys.readouterr().err
    assert main(["bench", "--data", str(table), "--protocol", "few_shot", "--methods", "coop"]) == 2
    assert "has the labels" in capsys.readouterr().err


def test_an_adapter_and_a_table_of_the_other_kind_are_told_apart(table, here, capsys):
    one_class = table.with_name("one_class.csv")
    rows = [line for line in table.read_text().splitlines() if line.split(",")[1] and "|" not in line]
    one_class.write_text("\n".join(rows) + "\n")
    assert main(["train", "zero_shot", "--data", str(one_class), "--out", "single", "--skip-bad"]) == 0
    assert main(["eval", "single", "--data", str(table)]) == 2
    assert "answers with one class" in capsys.readouterr().err
    assert main(["train", "zero_shot", "--data", str(table), "--out", "several"]) == 0
    assert main(["eval", "several", "--data", str(one_class)]) == 0
    assert "mean average precision" in capsys.readouterr().out
    assert main(["eval", "several", "--data", str(table.parent / "pictures")]) == 2
    assert "several labels per image are read from a table" in capsys.readouterr().err


class Mortal(Checkpoints):
    """Is stopped after so many checkpoints."""

    left = 0

    def save(self, snapshot):
        super().save(snapshot)
        Mortal.left -= 1
        if not Mortal.left:
            raise KeyboardInterrupt


def test_a_stopped_training_goes_on_to_the_same_bits_and_a_finished_one_is_not_made_again(table, here, monkeypatch):
    words = ["train", "taskres", "--data", str(table), "--shots", "2", "TASKRES.ALPHA", "0.4"]
    words += ["OPTIM.STEPS", "4", "OPTIM.LR", "0.1", "OPTIM.WARMUP_EPOCHS", "0", "CHECKPOINT.STEPS", "1"]
    assert main([*words, "--out", "whole"]) == 0
    expected = {name: Path("whole", name).read_bytes() for name in ("learnt.safetensors", "labels.csv", "summary.json")}
    monkeypatch.setattr(kept, "Checkpoints", Mortal)
    Mortal.left = 3 * 4 + 2  # behind three folds
    assert main([*words, "--out", "stopped"]) == STOPPED
    monkeypatch.setattr(kept, "Checkpoints", Checkpoints)
    assert len(list(Path("stopped").rglob("learnt.safetensors"))) == 3
    assert list(Path("stopped").rglob("checkpoints/*.safetensors"))
    assert main([*words, "--out", "stopped"]) == 0
    assert {name: Path("stopped", name).read_bytes() for name in expected} == expected
    assert not list(Path("stopped").rglob("checkpoints"))

    first, *_ = Path("whole").rglob("training.json")
    first.with_name("learnt.safetensors").write_bytes(b"half")
    made = []

    def noted(method, *rest):
        made.append(method.spec.name)
        return train(method, *rest)

    monkeypatch.setattr(training, "train", noted)
    with pytest.warns(UserWarning, match="is made again, as its files have changed"):
        assert adaptkit.fit("taskres", table, "whole", shots=2, overrides=words[6:]).folder == Path("whole")
    assert made.count("taskres") == 1
    assert {name: Path("whole", name).read_bytes() for name in expected} == expected


def test_nothing_that_an_earlier_training_said_is_left_beside_another_adapter(table, here, capsys):
    one_class = table.with_name("one_class.csv")
    rows = [line for line in table.read_text().splitlines() if line.split(",")[1] and "|" not in line]
    one_class.write_text("\n".join(rows) + "\n")
    searched = ["train", "auto", "--data", str(one_class), "--budget", "9steps", "--candidates", "tip_adapter"]
    assert main([*searched, "--out", "mine"]) == 0
    said = {path.name for path in Path("mine").iterdir() if path.is_file()}
    assert {"classes.csv", "leaderboard.json", "fold_logits.safetensors", "training_images.json"} <= said
    assert main(["train", "zero_shot", "--data", str(table), "--out", "mine"]) == 0
    left = {path.name for path in Path("mine").iterdir() if path.is_file()}
    assert left == {
        *("adapter_config.json", "learnt.safetensors", "README.md", "labels.csv"),
        *("summary.json", "summary.txt", "worst_images.png"),
    }
    assert main(["train", "zero_shot", "--data", str(one_class), "--out", "mine", "--wrap", "multi_label"]) == 0
    assert not Path("mine/labels.csv").exists()
    assert "multi_label: images have one class each, so no threshold is chosen" in capsys.readouterr().out

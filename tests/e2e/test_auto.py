"""`adaptkit train auto` and `adaptkit.fit("auto")`: a folder in, a chosen and tested adapter out, as users read it."""

import html
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import adaptkit
import trainers.fit.auto.trials as trials_module
from adaptkit.contract.calibrated import calibrate_on_logits
from datasets_fewshot import Item, load_dataset, load_own_data
from datasets_fewshot.splits.content_marks import content_marks
from tests.helpers.fitting import asked
from trainers.cli import main
from trainers.fit.auto.leaderboard import read_fold_logits
from trainers.fit.auto.main import fit_auto
from trainers.report.decision.reading import read_decision
from trainers.runs.execute import execute
from trainers.serving.about import about

STOPPED = 130
CLASSES, IMAGES = 4, 10
CANDIDATES, BUDGET = "gda,taskres", "900steps"
TIMED = ("seconds", "spent")  # what the clock says


def icons(folder, classes=CLASSES, images=IMAGES):
    """Class folders of the embedded icons."""
    dataset = load_dataset("icons")
    for label in range(classes):
        items = [item for part in dataset.split for item in part if item.label == label][:images]
        for number, item in enumerate(items):
            place = folder / item.classname / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            dataset.load(item).save(place)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    icons(folder / "photos")
    return folder


@pytest.fixture(autouse=True)
def _here(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(home / "cache"))


def auto(*words, data="photos", out="found"):
    return main(["train", "auto", "--data", str(data), "--out", out, "--device", "cpu", *words])


@pytest.fixture(scope="module")
def found(home, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("ADAPTKIT_CACHE", str(home / "cache"))
        assert auto("--budget", BUDGET, "--candidates", CANDIDATES) == 0
    return home / "found"


def board(folder):
    return json.loads((folder / "leaderboard.json").read_text())


def without_seconds(content):
    if isinstance(content, dict):
        return {key: without_seconds(value) for key, value in content.items() if key not in TIMED}
    return [without_seconds(value) for value in content] if isinstance(content, list) else content


def test_the_winner_is_an_adapter_like_any_other(found):
    method = adaptkit.load(found)
    images = sorted(Path("photos").rglob("*.png"))
    assert len(method.predict(images)) == CLASSES * IMAGES
    assert main(["eval", "found", "--data", "photos"]) == 0
    assert (found / "summary.txt").read_text().startswith(board(found)["decision"])
    assert f"auto: {board(found)['decision']}" in (found / "README.md").read_text()


def test_the_leaderboard_has_every_candidate_and_what_it_took(found):
    content = board(found)
    rows = {row["candidate"]: row for row in content["rows"]}
    assert {row["method"] for row in content["rows"]} == {"zero_shot", *CANDIDATES.split(",")}
    assert [row["candidate"] for row in content["rows"] if row["state"] == "chosen"] == [content["chosen"]]
    assert content["rows"][0]["state"] == "chosen"
    first = rows[content["chosen"]]
    assert first["folds"] == content["folds"] == 5
    assert first["above_zero_shot"] > first["above_standard_error"] > 0
    assert all(
        row["seconds"] > 0 and row["standard_error"] >= 0 for row in content["rows"] if row["tier"] == "features"
    )
    assert sum(row["steps"] for row in content["rows"]) == int(content["spent"].split()[0])
    markdown = (found / "leaderboard.md").read_text()
    assert all(f"| {row['candidate']} |" in markdown for row in content["rows"])
    assert "no test image was looked at" in markdown


def test_report_and_served_page_show_how_it_was_chosen(found, tmp_path):
    shown = tmp_path / "page.html"
    assert main(["report", "found", "--out", str(shown)]) == 0
    text = shown.read_text(encoding="utf-8")
    content = board(found)
    assert html.escape(content["decision"]) in text
    for row in content["rows"]:
        assert f'<td class="words">{row["candidate"]}</td>' in text
    assert "no test image was looked at" in text
    beside = read_decision(found)
    assert beside.problems == ()
    told = about(adaptkit.load(found), beside)
    assert html.escape(content["decision"]) in told
    assert "The worst test images" not in told


def test_the_refit_learns_from_train_and_val_and_from_no_test_image(found):
    split = json.loads((found / "runs/search/split.json").read_text())
    drawn = json.loads(Path("photos/adaptkit_split.json").read_text())
    assert sorted(split["train"]) == sorted([*drawn["train"], *drawn["val"]])
    assert split["test"] == drawn["test"]
    records = [json.loads(path.read_text()) for path in found.rglob("record.json")]
    assert {record["method"] for record in records} == {"zero_shot", board(found)["rows"][0]["method"]}
    assert {record["train_items"] for record in records if record["method"] != "zero_shot"} == {len(split["train"])}
    assert board(found)["images"] == len(split["train"])


def test_the_held_out_logits_of_the_winner_are_kept(found):
    kept, content = read_fold_logits(found), board(found)
    assert kept.logits.shape == (content["held_out"], CLASSES)
    assert sorted(set(kept.fold.tolist())) == list(range(content["folds"]))
    hits = kept.logits.argmax(axis=1) == kept.labels
    recalls = [hits[kept.labels == label].mean() for label in range(CLASSES)]
    assert 100 * np.mean(recalls) == pytest.approx(content["rows"][0]["mean"])
    split = json.loads((found / "runs/search/split.json").read_text())
    assert {(path, label) for path, label, _ in split["train"]} == set(
        zip(kept.images, kept.labels.tolist(), strict=True)
    )


def test_no_trial_learns_from_an_image_that_it_answers_or_that_is_tested(home, monkeypatch):
    learn, runs = trials_module.learn_together, []

    def noted(given, bench):
        runs.extend(given)
        return learn(given, bench)

    monkeypatch.setattr(trials_module, "learn_together", noted)
    assert auto("--budget", "300steps", "--candidates", "gda", out="noted") == 0
    tested = {path for path, *_ in json.loads(Path("photos/adaptkit_split.json").read_text())["test"]}
    assert runs
    for run in runs:
        learnt, answered = ({item.path for item in items} for items in (run.task.train, run.task.tests[0].items))
        assert not learnt & answered
        assert not (learnt | answered) & tested
        assert run.task.val == ()


def test_another_search_of_the_seed_finds_the_same_and_another_seed_has_other_folds(found, home):
    assert auto("--budget", BUDGET, "--candidates", CANDIDATES, out="again") == 0
    assert without_seconds(board(home / "again")) == without_seconds(board(found))
    for name in ("fold_logits.safetensors", "learnt.safetensors", "adapter_config.json", "summary.txt"):
        assert (home / "again" / name).read_bytes() == (found / name).read_bytes()
    assert auto("--budget", "20steps", "--candidates", "gda", "--seed", "2", out="other") == 0
    assert read_fold_logits(home / "other").images != read_fold_logits(found).images


@pytest.mark.parametrize("survived", [1, 8])
def test_a_search_that_was_killed_goes_on_to_the_same_end(found, home, monkeypatch, survived):
    out, words = home / f"killed{survived}", ("--budget", BUDGET, "--candidates", CANDIDATES)
    write, written = trials_module._write, []

    def write_until_killed(path, trial):
        if len(written) == survived:
            raise KeyboardInterrupt
        written.append(path)
        write(path, trial)

    monkeypatch.setattr(trials_module, "_write", write_until_killed)
    assert auto(*words, out=out.name) == STOPPED
    times = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(trials_module, "_write", write)
    assert auto(*words, out=out.name) == 0
    assert without_seconds(board(out)) == without_seconds(board(found))
    assert (out / "learnt.safetensors").read_bytes() == (found / "learnt.safetensors").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in written} == times


def test_the_same_command_again_trains_nothing(found, monkeypatch, capsys):
    before = board(found)
    monkeypatch.setattr(trials_module, "learn_together", None)
    assert auto("--budget", BUDGET, "--candidates", CANDIDATES) == 0
    assert board(found) == before
    assert "on cpu ..." not in capsys.readouterr().err


def test_a_trial_that_is_damaged_is_computed_again(found, home):
    shutil.copytree(found, home / "damaged")
    victim = sorted((home / "damaged/runs/search").glob("*.trial.safetensors"))[0]
    victim.write_bytes(b"half")
    assert auto("--budget", BUDGET, "--candidates", CANDIDATES, out="damaged") == 0
    assert without_seconds(board(home / "damaged")) == without_seconds(board(found))
    assert len(victim.read_bytes()) > 100


def test_what_there_is_no_budget_for_is_said(home):
    assert auto("--budget", "300steps", "--candidates", "taskres,gda", out="small") == 0
    rows = {row["candidate"]: row for row in board(home / "small")["rows"]}
    assert rows["taskres"]["state"] == "not tried"
    assert rows["taskres"]["reason"] == "there was no budget for it"
    assert rows["gda, alpha 1.0"]["folds"] == 5
    spent = int(board(home / "small")["spent"].split()[0])
    assert spent + board(home / "small")["rows"][0]["steps"] <= 300


def test_zero_shot_is_saved_where_nothing_is_better(home, capsys):
    rng = np.random.default_rng(0)
    for name in ("red", "blue", "green"):  # labels that say nothing
        for number in range(8):
            place = home / "noise" / name / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (36, 36, 3), dtype=np.uint8)).save(place)
    assert auto("--budget", "500steps", "--candidates", "taskres", data="noise", out="kept") == 0
    assert "zero-shot is kept: the best of " in capsys.readouterr().out
    assert json.loads((home / "kept/adapter_config.json").read_text())["method"]["name"] == "zero_shot"
    assert board(home / "kept")["chosen"] == "zero_shot"
    assert read_fold_logits(home / "kept").logits.shape == (18, 3)  # of all folds, as it learns of none


def test_one_image_a_class_is_a_choice_by_the_order_of_the_file(home, capsys):
    assert auto("--budget", "300steps", "--shots", "1", "--candidates", "tip_adapter,gda", out="one") == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("tip_adapter, alpha 1.0, beta 1.0 is taken untested")
    assert "most classes have a single image" in said
    assert {row["state"] for row in board(home / "one")["rows"]} == {"chosen", "baseline", "not tried"}
    assert not (home / "one" / "fold_logits.safetensors").exists()
    assert adaptkit.load(home / "one").predict([next(Path("photos").rglob("*.png"))])


def test_two_images_a_class_are_enough_for_folds(home):
    assert auto("--budget", "300steps", "--shots", "2", "--candidates", "gda", out="two") == 0
    assert board(home / "two")["folds"] == 2
    assert board(home / "two")["held_out"] == 2 * CLASSES


def test_from_python_the_result_has_the_leaderboard(home):
    result = adaptkit.fit(
        "auto", "photos", "called", budget="100steps", metric="accuracy", candidates=["gda"], device="cpu"
    )
    assert result.leaderboard.metric == "accuracy"
    assert result.fold_logits.logits.shape[1] == CLASSES
    assert result.summary().startswith(result.leaderboard.decision)


def test_a_time_is_kept_by_a_clock_that_only_trials_move(home, monkeypatch):
    """Under a clock by which everything takes a second, a search has time for some candidates and says which."""
    ticks = iter(range(10**6))
    wanted = asked("auto", "photos", "timed", budget="30s", candidates=("gda", "taskres", "adapter"), device="cpu")
    result = fit_auto(wanted, clock=lambda: float(next(ticks)))
    states = {row.candidate: row.state for row in result.leaderboard.rows}
    assert states["adapter"] == "not tried"
    assert any(state.startswith(("rung", "chosen")) for state in states.values())
    assert float(result.leaderboard.spent.split()[0]) <= 30
    again = fit_auto(wanted, clock=lambda: float(next(ticks)))
    assert again.leaderboard == result.leaderboard


def alike(folder):
    for name in ("red", "blue"):
        for number in range(6):
            place = folder / name / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (36, 36), "white").save(place)
    return folder


def parts(folder, **counts):
    """Train and test parts with so many images of each class."""
    icons(folder / "source", classes=2, images=6)
    for name, (train, test) in counts.items():
        images = sorted((folder / "source").rglob("*.png"))[:: 2 if name == "a" else 3]
        for part, number in (("train", train), ("test", test)):
            for image in images[:number]:
                place = folder / "parted" / part / name / f"{part}{image.name}"
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(image, place)
    return folder / "parted"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "5steps", "--candidates", "kgcoop"), "the budget of 5steps is too small for one method"),
        (("--budget", "1s", "--candidates", "maple"), "the budget of 1s is too small for one method"),
        (("--budget", "soon"), "'soon'; expected a time or a number of steps"),
        (("--candidates", "coop2"), "coop2"),
        (("--candidates", "zero_shot"), "names zero_shot alone"),
        (("--candidates", "tda"), "it looks at other test images"),
        (("--wrap", "das"), "leave --wrap das out"),
        (("--start-from", "found"), "leave --start-from out"),
        (("OPTIM.LR", "0.1"), "OPTIM.LR is set, and auto chooses"),
        (("TASKRES.ALPHA", "0.1"), "TASKRES.ALPHA is set, and auto chooses"),
    ],
)
def test_words_that_no_search_can_follow_are_one_sentence(words, message, capsys):
    assert auto(*words, out="bad") == 2
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1]
    assert said[-1].startswith("adaptkit: error: ")


def test_data_that_no_search_can_use_are_one_sentence(tmp_path, capsys):
    one_class = icons(tmp_path / "one_class", classes=1)
    single = icons(tmp_path / "single", classes=1, images=1)
    for data, message in (
        (one_class, "one class only"),
        (single, "one class only"),
        (alike(tmp_path / "alike"), "training images of alike look alike to adaptkit-mini"),
        (parts(tmp_path, a=(3, 2), b=(0, 2)), "1 of 2 classes have no training image, such as 'b'"),
    ):
        assert auto("--budget", "100steps", "--candidates", "gda", data=data, out=str(tmp_path / "out")) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("words", [("--budget", "1min"), ("--metric", "accuracy"), ("--candidates", "coop")])
def test_words_of_a_search_are_refused_for_one_method(words, capsys):
    assert main(["train", "taskres", "--data", "photos", "--out", "bad", *words]) == 2
    assert "is of auto, and taskres is one method" in capsys.readouterr().err


def test_another_training_in_its_place_leaves_no_leaderboard(found, home):
    shutil.copytree(found, home / "replaced")
    assert main(["train", "zero_shot", "--data", "photos", "--out", "replaced"]) == 0
    assert not list((home / "replaced").glob("leaderboard.*"))
    assert not (home / "replaced/fold_logits.safetensors").exists()


def test_a_calibration_takes_what_the_folds_of_the_search_said(found, home, monkeypatch):
    shutil.copytree(found, home / "sure")
    monkeypatch.setattr("trainers.fit.held_out.execute", None)  # what trains a fold
    monkeypatch.setattr(trials_module, "learn_together", None)
    assert auto("--budget", BUDGET, "--candidates", CANDIDATES, "--calibrate", out="sure") == 0
    kept, method = read_fold_logits(home / "sure"), adaptkit.load(home / "sure")
    assert (found / "fold_logits.safetensors").read_bytes() == (home / "sure/fold_logits.safetensors").read_bytes()
    again = calibrate_on_logits(
        method,
        torch.from_numpy(kept.logits).double(),
        torch.from_numpy(kept.labels),
        f"5 folds of {len(kept.images)} training images, by which auto chose it",
        content_marks(load_own_data("photos"), [Item(path, 0, "") for path in kept.images]),
    )
    assert again == method.calibration
    assert json.loads((home / "sure/summary.json").read_text())["calibration"]["temperature"] == again.temperature


def test_a_winner_that_was_not_trained_in_full_on_all_folds_is_calibrated_on_trainings_of_its_own(home, monkeypatch):
    trained = []

    def noted(run, bench):
        trained.append(run)
        return execute(run, bench)

    monkeypatch.setattr("trainers.fit.held_out.execute", noted)
    assert auto("--budget", "800steps", "--candidates", "taskres", "--calibrate", out="short") == 0
    assert board(home / "short")["folds"] < 5
    assert [run.config.method for run in trained] == ["taskres"] * 5
    assert adaptkit.load(home / "short").calibration.source.startswith("5 folds of ")

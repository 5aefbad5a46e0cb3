"""`adaptkit predict`, `eval` and `save`: adapters on the command line."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import adaptkit
from tests.helpers.synthetic import NAMES, synthetic_dataset
from trainers.cli import main
from trainers.cli.adapter.predict import image_paths


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """CoOp on four classes of coloured noise, not trained."""
    backbone = adaptkit.load_backbone("adaptkit-mini")
    return adaptkit.create_method("coop", backbone, NAMES, n_ctx=2).save_pretrained(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def bound(tmp_path_factory):
    """A linear probe, which refuses other names."""
    backbone = adaptkit.load_backbone("adaptkit-mini")
    return adaptkit.create_method("linear_probe", backbone, NAMES).save_pretrained(tmp_path_factory.mktemp("bound"))


@pytest.fixture
def images(tmp_path):
    """A folder with two images, one below the other, and a text file."""
    folder = tmp_path / "images"
    (folder / "deep er").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels[::-1]).save(folder / "deep er" / "b ä.JPG")
    (folder / "notes.txt").write_text("no image")
    return folder


def run(capsys, *words: object) -> tuple[int, list[str], str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_one_line_per_image_with_probabilities(adapter, images, capsys):
    code, lines, _ = run(capsys, "predict", adapter, images)
    assert code == 0
    assert [line.split(": ")[0] for line in lines] == [str(images / "a.png"), str(images / "deep er" / "b ä.JPG")]
    assert all(line.count("%") == 3 for line in lines)


def test_json_says_what_python_says(adapter, images, capsys):
    code, lines, _ = run(capsys, "predict", adapter, images / "a.png", "--json", "--topk", 4)
    (answer,) = [json.loads(line) for line in lines]
    expected = adaptkit.load(adapter).predict(images / "a.png")[0]
    assert code == 0
    assert [entry["label"] for entry in answer["classes"]] == list(expected.labels)
    assert [entry["probability"] for entry in answer["classes"]] == pytest.approx(expected.probabilities)


def test_other_classes_need_no_training(adapter, images, capsys):
    _, (line,), _ = run(capsys, "predict", adapter, images / "a.png", "--classes", "tabby cat, violin")
    assert "tabby cat" in line
    assert "violin" in line


def test_a_bound_adapter_refuses_other_classes_with_its_reason(bound, images, capsys):
    code, lines, error = run(capsys, "predict", bound, images, "--classes", "cat,dog")
    assert (code, lines) == (2, [])
    assert "--classes cannot be changed: the linear layer has a row" in error


@pytest.mark.parametrize("as_json", [False, True])
def test_an_unreadable_image_is_reported_and_the_others_are_classified(adapter, images, capsys, as_json):
    (images / "a2.png").write_bytes(b"\x89PNG no")
    words = ["predict", adapter, images, images / "missing.png", "--batch-size", "2", *(["--json"] if as_json else [])]
    code, lines, error = run(capsys, *words)
    assert code == 2
    assert "2 of 4 images could not be read" in error
    if as_json:
        assert [json.loads(line).keys() for line in lines] == [{"image", "classes"}, {"image", "error"}] * 2
    else:
        assert len(lines) == 2
        assert f"cannot read '{images / 'a2.png'}'" in error


def test_a_list_on_stdin_is_streamed(adapter, images, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{images / 'a.png'}\n\n{images / 'deep er' / 'b ä.JPG'}\n"))
    code, lines, _ = run(capsys, "predict", adapter, "-")
    assert (code, len(lines)) == (0, 2)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    code, _, error = run(capsys, "predict", adapter, "-")
    assert code == 2
    assert "names no image" in error


def test_folders_patterns_and_files_are_found_in_order(images):
    deep = str(images / "deep er" / "b ä.JPG")
    assert list(image_paths([str(images)], [])) == [str(images / "a.png"), deep]
    assert list(image_paths([str(images / "**" / "*.JPG")], [])) == [deep]
    assert list(image_paths(["-", str(images / "a.png")], ["x.png\n"])) == ["x.png", str(images / "a.png")]


@pytest.mark.parametrize("word", ["https://example.com/cat.jpg", "file:///etc/passwd"])
def test_addresses_are_refused_with_a_reason(adapter, capsys, word, monkeypatch):
    code, _, error = run(capsys, "predict", adapter, word)
    assert code == 2
    assert "local files only" in error
    monkeypatch.setattr("sys.stdin", io.StringIO(word))
    assert run(capsys, "predict", adapter, "-")[0] == 2


def test_what_stands_for_no_image_is_named(adapter, tmp_path, capsys):
    for word in (tmp_path, tmp_path / "*.png"):
        code, _, error = run(capsys, "predict", adapter, word)
        assert code == 2
        assert "stands for no image" in error
    assert run(capsys, "predict", tmp_path / "none", "a.png")[0] == 2


def own_folder(tmp_path):
    """A tree of class folders in train and test parts."""
    dataset = synthetic_dataset(tmp_path / "flat")
    for part, items in zip(("train", "val", "test"), dataset.split, strict=True):
        for item in items:
            place = tmp_path / "own" / part / item.classname / item.path.replace("/", "_")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(dataset.path(item).read_bytes())
    return tmp_path / "own"


def test_eval_counts_what_predict_gets_right(adapter, tmp_path, capsys):
    folder = own_folder(tmp_path)
    _, text, _ = run(capsys, "eval", adapter, "--data", folder, "--json")
    answer = json.loads("\n".join(text))
    method = adaptkit.load(adapter)
    files = sorted((folder / "test").glob("*/*.png"))
    right = sum(
        prediction.label == file.parent.name for file, prediction in zip(files, method.predict(files), strict=True)
    )
    assert (answer["images"], answer["correct"]) == (len(files), right)
    assert answer["accuracy"] == pytest.approx(100 * right / len(files))
    assert {row["name"] for row in answer["per_class"]} == set(NAMES)


def test_eval_takes_any_part_and_says_so(adapter, tmp_path, capsys):
    folder = own_folder(tmp_path)
    code, lines, _ = run(capsys, "eval", adapter, "--data", folder, "--part", "all")
    assert code == 0
    assert "of 40 images right among 4 classes" in lines[0]
    assert lines[1].startswith("accuracy ")


def test_eval_of_a_bound_adapter_knows_its_classes_in_any_order_and_no_others(bound, adapter, tmp_path, capsys):
    code, lines, _ = run(capsys, "eval", bound, "--data", own_folder(tmp_path))
    assert code == 0
    assert "among 4 classes" in lines[0]
    code, _, error = run(capsys, "eval", bound, "--data", "emoji_food")
    assert code == 2
    assert "classes that the adapter does not know" in error
    assert run(capsys, "eval", adapter, "--data", "emoji_activities")[0] == 0


def test_a_finished_run_becomes_an_adapter_that_scores_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "runs"
    words = ["bench", "--datasets", "emoji_activities", "--methods", "zero_shot,kgcoop", "--seeds", "1", "--shots", "2"]
    assert run(capsys, *words, "--out", out, "OPTIM.EPOCHS", "2")[0] == 0
    for folder in out.glob("*/*/*/"):
        record = json.loads((folder / "record.json").read_text())
        code, (line,), _ = run(capsys, "save", folder, "--out", tmp_path / record["method"], "--licence", "mit")
        assert code == 0
        assert record["method"] in line
        card = (tmp_path / record["method"] / "README.md").read_text()
        assert f"{record['scores'][0]['metrics']['accuracy']:.2f}" in card
        method = adaptkit.load(tmp_path / record["method"])
        assert method.classes.classnames == tuple(record["scores"][0]["classnames"])
        if record["method"] == "kgcoop":
            assert_scores_again(method, record)
    code, _, error = run(capsys, "save", tmp_path, "--out", tmp_path / "none")
    assert code == 2
    assert "has no record.json" in error


def assert_scores_again(method, record) -> None:
    from datasets_fewshot import load_dataset, select_classes
    from trainers.cli.adapter.evaluate import evaluate

    dataset = load_dataset("emoji_activities")
    base = select_classes(dataset.split, "base")
    half = type(dataset)(dataset.name, dataset.image_root, base, reading=dataset.reading)
    assert evaluate(method, half, base.test).correct == record["scores"][0]["correct"]

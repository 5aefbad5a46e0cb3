"""Class names on the command line, and what `predict`, `explain`, `export` and `serve` do with them."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

import adaptkit
from tests.helpers.synthetic import NAMES
from trainers.cli import main

SHARED = ("cat", "dog", "cat", "violin")
VERBS = (
    "predict",
    "explain",
    "export",
    pytest.param("serve", marks=pytest.mark.skipif(not find_spec("uvicorn"), reason="serving needs uvicorn")),
)


@pytest.fixture(scope="module")
def backbone():
    return adaptkit.load_backbone("adaptkit-mini")


def saved(tmp_path_factory, backbone, method, classes, **options):
    return adaptkit.create_method(method, backbone, classes, **options).save_pretrained(tmp_path_factory.mktemp("a"))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, backbone):
    return saved(tmp_path_factory, backbone, "zero_shot", NAMES)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, backbone):
    """An adapter with two classes of one name."""
    return saved(tmp_path_factory, backbone, "zero_shot", SHARED)


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def run(capsys, *words: object) -> tuple[int, list[str], str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def labels(lines: list[str]) -> set[str]:
    return {entry["label"] for line in lines for entry in json.loads(line)["classes"]}


def words_of(verb: str, adapter, image, tmp_path) -> list[object]:
    """A command that would work, but for its classes."""
    more = {"predict": [image], "explain": [image, "--out", tmp_path / "map.png"], "export": [], "serve": []}
    out = ["--format", "torchscript", "--out", tmp_path / "made.pt"] if verb == "export" else []
    return [verb, adapter, *more[verb], *out]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--classes", "cat,cat"), "'cat' and 'cat' are one and the same"),
        (("--classes", "sea_lion, sea lion"), "are one and the same"),
        (("--classes", "one"), "only class|fixed"),
        (("--classes", "a,,b"), "empty name"),
        (("--classes", ""), "empty name"),
        (("--classes", " , "), "empty name"),
        (("--classes", "a", "--classes", ""), "empty name"),
        (("--classes", "a,b", "--classnames", "names.txt"), "give one of them"),
        (("--classnames", "no such file.txt"), "no such file.txt"),
    ],
)
def test_names_that_cannot_be_answers_are_one_line_and_nothing_is_written(
    adapter, image, tmp_path, capsys, verb, options, reason
):
    if verb == "export" and "only class" in reason:
        pytest.skip("a file of one logit is of use with independent scores")
    code, lines, error = run(capsys, *words_of(verb, adapter, image, tmp_path), *options)
    assert (code, lines) == (2, [])
    assert error.count("\n") == 1
    assert any(part in error for part in reason.split("|"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_repeated_flags_and_files_keep_commas(adapter, image, tmp_path, capsys):
    _, lines, _ = run(capsys, "predict", adapter, image, "--json", "--classes", "salt, pepper", "--classes", "tea")
    assert labels(lines) == {"salt, pepper", "tea"}
    (tmp_path / "names.txt").write_text("salt, pepper\ntea\n")
    _, lines, _ = run(capsys, "predict", adapter, image, "--json", "--classnames", tmp_path / "names.txt")
    assert labels(lines) == {"salt, pepper", "tea"}


def test_sentences_of_a_file_change_the_answer_or_are_refused(
    adapter, image, tmp_path, capsys, tmp_path_factory, backbone
):
    sentences = {"tea": ["a cup of {}.", "green leaves."], "violin": ["a photo of a {}."]}
    (tmp_path / "own.json").write_text(json.dumps(sentences))
    words = ("predict", adapter, image, "--json")
    _, own, _ = run(capsys, *words, "--classnames", tmp_path / "own.json")
    _, plain, _ = run(capsys, *words, "--classes", "tea,violin")
    assert labels(own) == labels(plain) == {"tea", "violin"}
    assert own != plain
    coop = saved(tmp_path_factory, backbone, "coop", NAMES, n_ctx=2)
    code, _, error = run(capsys, "predict", coop, image, "--classnames", tmp_path / "own.json")
    assert code == 2
    assert "CoOp takes no sentences of single classes" in error


def test_reject_says_unknown_in_text_and_in_json(adapter, image, capsys):
    _, (line,), _ = run(capsys, "predict", adapter, image, "--reject", "1")
    assert f"{image}: unknown (" in line
    _, (line,), _ = run(capsys, "predict", adapter, image, "--reject", "1", "--json")
    answer = json.loads(line)
    assert (answer["label"], answer["rejected"]) == ("unknown", True)
    _, (line,), _ = run(capsys, "predict", adapter, image, "--reject", "0", "--json")
    answer = json.loads(line)
    assert (answer["label"], answer["rejected"]) == (answer["classes"][0]["label"], False)


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan"])
def test_a_reject_that_is_no_probability_is_refused(adapter, image, capsys, value):
    code, _, error = run(capsys, "predict", adapter, image, f"--reject={value}")
    assert code == 2
    assert "expected a probability from 0 to 1" in error


def test_independent_scores_are_of_one_class_alone(adapter, image, capsys):
    words = ("predict", adapter, image, "--json", "--topk", "9", "--scores", "independent")
    scores = {}
    for names in ("tea,violin,dog", "violin"):
        _, (line,), _ = run(capsys, *words, "--classes", names)
        scores[names] = {entry["label"]: entry["probability"] for entry in json.loads(line)["classes"]}
    assert scores["tea,violin,dog"]["violin"] == pytest.approx(scores["violin"]["violin"], abs=1e-4)
    code, _, error = run(capsys, "predict", adapter, image, "--offset", "3")
    assert code == 2
    assert "for independent scores" in error


def test_equal_names_are_told_apart_by_their_numbers(shared, image, capsys, tmp_path):
    _, (line,), _ = run(capsys, "predict", shared, image, "--topk", "4")
    assert "cat (class 0)" in line
    assert "cat (class 2)" in line
    assert "dog (class" not in line
    _, (line,), _ = run(capsys, "predict", shared, image, "--topk", "4", "--json")
    assert sorted(entry["index"] for entry in json.loads(line)["classes"]) == [0, 1, 2, 3]
    words = ("explain", shared, image, "--out", tmp_path / "map.png", "--of")
    code, _, error = run(capsys, *words, "cat")
    assert code == 2
    assert "'#0', '#2'" in error
    code, lines, _ = run(capsys, *words, "#2")
    assert code == 0
    assert "what speaks for 'cat'" in lines[-1]
    assert run(capsys, *words, "#4")[0] == 2

"""What lies beside an adapter: it is read again as it was written, shown with every name escaped, and never crashes."""

import json

import pytest

from tests.helpers.decisions import (
    EVIL,
    calibration,
    config,
    label_summary,
    leaderboard,
    suggestions,
    summary,
    write_adapter,
    write_suggestions,
)
from trainers.report.decision.chart import Mark, chart
from trainers.report.decision.leaderboard import Leaderboard
from trainers.report.decision.reading import decision_folders, read_decision
from trainers.report.decision.sections import all_sections, model_sections
from trainers.report.page import page, page_data

FILES = ("adapter_config.json", "summary.json", "leaderboard.json", "calibration.json")
DAMAGED = {
    "empty": b"",
    "half": b'{"version": 1, "rows": [',
    "a list": b"[1]",
    "of something else": b'{"version": 1, "format": "adaptkit-calibration"}',
    "not text": b"\xff\xfe\xff",
    "a page": b"<html>",
    "half of a pair": b'{"decision": "\\ud800"}',
    "deep": b"[" * 500 + b"]" * 500,
}


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def test_what_was_written_is_read_again(tmp_path):
    found = read_decision(write_adapter(tmp_path / "mine"))
    assert found.problems == ()
    assert found.leaderboard == leaderboard()
    assert found.adapter.label == "taskres"
    assert found.summary.text_gains[0].after == 66.7
    assert found.calibration.unknown.rule == "Youden's J"
    assert list(found.pictures) == ["reliability.png"]
    assert read_decision(write_suggestions(tmp_path / "lists")).suggestions == suggestions()


def test_a_leaderboard_of_a_later_version_is_refused():
    with pytest.raises(ValueError, match="its version is 2; this adaptkit reads 1"):
        Leaderboard.from_json({**leaderboard().to_json(), "version": 2})


def test_everything_is_shown_and_every_name_is_escaped(tmp_path):
    text = all_sections(read_decision(write_adapter(tmp_path / "mine")))
    text += all_sections(read_decision(write_suggestions(tmp_path / "lists")))
    for said in (
        "75.0 [55.1, 88.0]", "71.5 ± 2.5", "+9.5 ± 2.2", "not tried", "no test image was looked at", "12.25", "3.75",
        "87.5 ± 3.1", "below 45.0 %", "+4.2", "One picture in two parts", "This list could not be made.",
    ):  # fmt: skip
        assert said in text, said
    assert text.count("data:image/png;base64,") == 2
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 5


def test_labels_have_their_scores_and_thresholds(tmp_path):
    folder = write_adapter(tmp_path / "mine")
    write(folder, "summary.json", label_summary())
    text = all_sections(read_decision(folder))
    assert "<td>81.2</td><td>75.0</td><td>66.7</td><td>70.6</td><td>35.5</td>" in text
    assert "<td>–</td>" in text
    assert "<script" not in text


@pytest.mark.parametrize("name", [*FILES, "suggestions.json"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_one_line_and_the_rest_is_shown(name, damage, tmp_path):
    folder = write_adapter(tmp_path / "mine")
    (folder / name).write_bytes(DAMAGED[damage])
    found = read_decision(folder)
    (line,) = found.problems
    assert name in line
    assert "\n" not in line
    text = page([], [found])
    text.encode("utf-8")
    assert "What is not shown" in text
    assert "mine" in text


def test_a_leaderboard_of_another_training_is_left_out(tmp_path):
    folder = write_adapter(tmp_path / "mine")
    for method, wrappers in (("coop", ()), ("taskres", ("multi_label",))):
        write(folder, "adapter_config.json", config(method, wrappers))
        found = read_decision(folder)
        assert found.leaderboard is None
        assert "chose taskres, rate x3, and the adapter beside it is" in found.problems[0]


def test_coverage_is_shown_of_this_calibration_alone(tmp_path):
    folder = write_adapter(tmp_path / "mine")
    write(folder, "calibration.json", {**calibration(), "temperature": 2.0})
    text = all_sections(read_decision(folder))
    assert "87.5 ± 3.1" not in text
    assert "data:image/png" not in text
    assert "adaptkit eval" in text


def test_without_a_picture_the_extra_is_named(tmp_path):
    folder = write_adapter(tmp_path / "mine")
    (folder / "reliability.png").unlink()
    assert "pip install &#x27;adaptkit-clip[report]&#x27;" in all_sections(read_decision(folder))


def test_what_is_of_the_model_has_no_image_path_or_note(tmp_path):
    folder = write_adapter(tmp_path / "mine")
    (folder / "worst_images.png").write_bytes(b"PNG")
    (folder / "leaderboard.json").write_bytes(b"{")
    found = read_decision(folder)
    assert "The worst test images" in all_sections(found)
    text = model_sections(found)
    assert "The worst test images" not in text
    assert "a note on" not in text
    assert str(tmp_path) not in text


def test_an_adapter_alone_says_that_nothing_is_known(tmp_path):
    write(tmp_path, "adapter_config.json", config())
    assert "no leaderboard" in all_sections(read_decision(tmp_path))
    assert model_sections(read_decision(tmp_path)) == ""


def test_adapters_are_found_in_a_folder_and_right_below_it(tmp_path):
    for name in ("b", "a", ".hidden", "deep/er"):
        write_adapter(tmp_path / name)
    write_suggestions(tmp_path / "lists")
    assert [folder.name for folder in decision_folders(tmp_path)] == ["a", "b", "lists"]
    assert decision_folders(tmp_path / "a") == [tmp_path / "a"]
    assert decision_folders(tmp_path / "a" / "summary.json") == []


def test_a_page_has_a_tab_of_each_decision_and_marks_in_names_are_names(tmp_path):
    found = read_decision(write_adapter(tmp_path / "mine"))
    assert page_data([], [found])["decisions"] == [{"title": "mine", "kind": "taskres, 2 classes"}]
    text = page([], [found])
    assert text.count('<template id="decision-0">') == 1
    assert text.count("{data}") > 3, "a class is called so"
    assert text.count('id="data">') == 1
    assert EVIL not in text


def test_a_chart_places_scores_between_its_ends():
    text = chart([Mark("a", 50.0, 10.0, is_chosen=True), Mark("b" * 50, 40.0)], "scores", line=45.0)
    assert 'd="M252.0 20.0H628.0"' in text, "from 40 to 60, the whole width"
    assert 'cx="252.0"' in text
    assert f"<title>{'b' * 50}</title>" in text
    assert f"{'b' * 33}…" in text
    assert "stroke-dasharray" in text
    assert chart([], "none") == ""
    assert "nan" not in chart([Mark("alone", 50.0)], "one")


def test_what_eval_wrote_is_shown_with_the_calibration_that_it_judged(tmp_path):
    judged = {**summary(), "images": 30, "dataset": EVIL, "part": "val", "among": "adapter"}
    del judged["test_images"], judged["zero_shot_accuracy"]
    write(tmp_path, "metrics.json", judged)
    found = read_decision(tmp_path)
    assert found.problems == ()
    text = all_sections(found)
    assert "On 30 validation images of &lt;script&gt;" in text
    assert "87.5 ± 3.1" in text
    assert "zero-shot, by class names alone" not in text
    write(tmp_path, "metrics.json", {**label_summary(), "dataset": "pairs", "part": "test"})
    assert "On 24 test images of pairs" in all_sections(read_decision(tmp_path))
    assert page_data([], [read_decision(tmp_path)])["decisions"][0]["kind"] == "a judgement"
    (tmp_path / "metrics.json").write_bytes(b"[]")
    (line,) = read_decision(tmp_path).problems
    assert "metrics.json' is no judgement that can be shown: it holds a list" in line

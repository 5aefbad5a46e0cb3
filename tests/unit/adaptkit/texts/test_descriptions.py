"""Files of descriptors: read in every form, merged, reported on, changed and written back."""

import json

import pytest

from adaptkit.texts.descriptions import DescriptionError, Descriptor, parse_descriptions, read_descriptions

OURS = {
    "descriptors": [{"text": "fur", "weight": 2.0}, {"text": "a tail", "enabled": False}, "ears"],
    "source": "by hand",
}


def parsed(content):
    return parse_descriptions(json.dumps(content), "here.json")


def test_all_forms_are_read_and_written_back(tmp_path):
    found = parsed({"tabby_cat": OURS, "dog": ["four legs"], "empty": []})
    assert found.of("tabby cat") == (Descriptor("fur", 2.0), Descriptor("ears"))
    assert found.of("Tabby-Cat") == found.of("tabby_cat")
    assert found.of("bird") is None
    assert found.of("empty") == ()
    assert read_descriptions(found.write(tmp_path / "again.json")) == found


def test_a_report_says_what_is_missing_superfluous_and_empty():
    report = parsed({"cat": ["fur"], "dog": [], "unicorn": ["a horn"]}).report(["cat", "dog", "bird"])
    assert (report.missing, report.extra, report.empty) == (("bird",), ("unicorn",), ("dog",))
    assert not report.complete


def test_files_are_merged_in_their_order(tmp_path):
    for name, content in (("a", {"cat": ["fur"]}), ("b", {"Cat": ["fur", "ears"], "dog": ["legs"]})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    merged = read_descriptions(tmp_path / "a.json", tmp_path / "b.json")
    assert [one.text for one in merged.of("cat")] == ["fur", "ears"]
    assert list(merged.classes) == ["cat", "dog"]


def test_descriptors_are_switched_off_weighted_and_added():
    found = parsed({"cat": ["fur", "ears"]}).changed("cat", "fur", enabled=False).changed("Cat", "ears", weight=3)
    assert found.of("cat") == (Descriptor("ears", 3.0),)
    assert found.with_class("dog", ["legs"]).of("dog") == (Descriptor("legs"),)
    with pytest.raises(DescriptionError, match="'cat' has no descriptor 'wings'; it has 'fur', 'ears'"):
        found.changed("cat", "wings", enabled=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a JSON object"),
        ({}, "with one class or more"),
        ({"cat": "fur"}, "class 'cat' has 'fur'; expected a list"),
        ({"cat": [""]}, "class 'cat' has the descriptor ''"),
        ({"cat": [3]}, "class 'cat' has the descriptor 3"),
        ({"cat": {"texts": []}}, "class 'cat' needs \"descriptors\""),
        ({"cat": [{"text": "fur", "weight": 0}]}, "weight 0; expected a number above 0"),
        ({"cat": [{"text": "fur", "weight": True}]}, "weight True"),
        ({"cat": [{"text": "fur", "colour": 1}]}, "class 'cat' has the descriptor"),
        ({"cat": ["fur"], " cat ": ["ears"]}, "twice"),
    ],
)
def test_what_is_no_description_is_refused_by_class(content, message):
    with pytest.raises(DescriptionError, match=message) as refusal:
        parsed(content)
    assert "here.json" in str(refusal.value)

import json

import pytest

from datasets_fewshot.composed.jsonl import read_queries

GALLERY = ("a.png", "b/c.png", "d.png")
QUERY = {"reference": "a.png", "modifier": "in red", "target": "d.png"}


def read(tmp_path, *lines):
    path = tmp_path / "asked.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return read_queries(path, tmp_path, GALLERY)


def test_one_target_or_several(tmp_path):
    asked = read(tmp_path, QUERY, "", {**QUERY, "target": ["d.png", "./b/c.png"], "group": "colour"})
    assert asked.name == "asked"
    assert [query.targets for query in asked.queries] == [("d.png",), ("d.png", "b/c.png")]
    assert [query.group for query in asked.queries] == ["", "colour"]
    assert asked.precision_at
    assert not read(tmp_path, QUERY).precision_at


def test_a_subset_leaves_the_reference_out(tmp_path):
    assert read(tmp_path, {**QUERY, "subset": ["a.png", "d.png"]}).queries[0].subset == ("d.png",)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[]", "line 1 is no JSON object"),
        ("{", "JSON"),
        ({**QUERY, "other": 1}, "has the field 'other'"),
        ({**QUERY, "modifier": " "}, "'modifier' is ' '"),
        ({**QUERY, "target": []}, "'target' is"),
        ({**QUERY, "target": 3}, "'target' is '3'"),
        ({**QUERY, "target": "x.png"}, "'x.png', which is not among the 3 of the gallery"),
        ({**QUERY, "subset": ["x.png"]}, "not among the 3"),
        ({**QUERY, "reference": "../a.png"}, "below the folder"),
        ({**QUERY, "target": "/etc/passwd"}, "below the folder"),
        ({**QUERY, "target": "a.png"}, "means its own image"),
        ("", "no query with a target"),
    ],
)
def test_a_line_that_is_no_query_is_refused(line, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        read(tmp_path, line)

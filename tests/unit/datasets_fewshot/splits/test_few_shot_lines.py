import json

import pytest

from datasets_fewshot.dataset import Item
from datasets_fewshot.splits.few_shot_lines import is_lines, placed, read_lines
from datasets_fewshot.splits.validation import SplitError, UnreadableSplitError

OWN = (Item("banded/a.jpg", 0, "banded"), Item("dotted/b.jpg", 1, "dotted"), Item("dotted/c.jpg", 1, "dotted"))


def written(tmp_path, *lines):
    path = tmp_path / "4_shot_seed_1.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n\n")
    return path


def test_lines_of_either_form_are_the_images_to_learn_from(tmp_path):
    path = written(
        tmp_path,
        {"impath": "dtd/images/dotted/c.jpg", "label": 1, "classname": "dotted"},
        ["dtd/images/banded/a.jpg", 0, "banded"],
        {"image": "/home/me/data/dtd/images/dotted/b.jpg", "label": 1, "class_name": "dotted"},
    )
    assert is_lines(path)
    split = placed(read_lines(path), OWN, str(path))
    assert split.train == (OWN[2], OWN[0], OWN[1])
    assert split.val == split.test == ()


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("{", UnreadableSplitError, "line 1 is no JSON"),
        ("7", SplitError, "line 1 is a int; expected an object"),
        ({"label": 1, "classname": "x"}, SplitError, "line 1 has no path; expected one of impath, path"),
        ({"path": "x.jpg", "classname": "x"}, SplitError, "has no label"),
        ({"path": "x.jpg", "label": "1", "classname": "x"}, SplitError, "the label is '1'"),
        ({"path": "../x.jpg", "label": 1, "classname": "x"}, SplitError, "climbs out"),
    ],
)
def test_a_line_that_says_less_is_named(tmp_path, line, error, message):
    with pytest.raises(error, match=message):
        read_lines(written(tmp_path, line))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["dtd/images/dotted/z.jpg", 1, "dotted"], "is none of the data set's 3 training images"),
        (["dotted/b.jpg", 0, "banded"], r"has label 0, and the data set has 1 \('dotted'\) for it"),
    ],
)
def test_a_list_of_another_data_set_is_refused(tmp_path, row, message):
    path = written(tmp_path, row)
    with pytest.raises(SplitError, match=message):
        placed(read_lines(path), OWN, str(path))

"""Tables of graded images: their columns, their numbers and their parts."""

import pytest
from PIL import Image

from datasets_fewshot import SplitError
from datasets_fewshot.own.graded_table import GradedColumns, read_graded_table


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "crops").mkdir()
    for name in "abc":
        Image.new("RGB", (8, 8)).save(tmp_path / "crops" / f"{name}.png")
    return tmp_path


def table(folder, text, name="grades.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_usual_columns_are_found(folder):
    found = read_graded_table(table(folder, "image,MOS,split\ncrops/a.png,3.5,train\ncrops/b.png,-1e1,test\n"))
    assert [(image.path.name, image.grade, image.part) for image in found.images] == [
        ("a.png", 3.5, "train"),
        ("b.png", -10.0, "test"),
    ]
    assert len({image.group for image in found.images}) == 2


def test_columns_are_named_and_groups_kept(folder):
    text = "where;how good;what\ncrops/a.png;1;cat\ncrops/b.png;2;cat\ncrops/c.png;3;dog\n"
    found = read_graded_table(table(folder, text), GradedColumns(grade="How Good", group="what"))
    assert [(image.grade, image.group) for image in found.images] == [(1, "cat"), (2, "cat"), (3, "dog")]


def test_jsonl_is_read(folder):
    text = '{"path": "crops/a.png", "score": 1}\n{"path": "crops/b.png", "score": 2.5}\n'
    assert [image.grade for image in read_graded_table(table(folder, text, "grades.jsonl")).images] == [1.0, 2.5]


def test_missing_images_are_left_out_with_a_note(folder):
    found = read_graded_table(table(folder, "image,mos\ncrops/a.png,1\ncrops/z.png,2\n"))
    assert len(found.images) == 1
    assert "1 of 2 images" in found.notes[0]
    assert "line 3: 'crops/z.png'" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,mos\ncrops/a.png,good\n", "line 2: the grade is 'good'"),
        ("image,mos\ncrops/a.png,nan\n", "expected a finite number"),
        ("image,mos\ncrops/a.png,\n", "the grade is ''"),
        ("image,mos\n,3\n", "has no path in its column 'image'"),
        ("image,mos\ncrops/y.png,3\n", "none of its 1 images is there"),
        ("image,mos,split\ncrops/a.png,3,holdout\n", "the part is 'holdout'"),
        ("image,breed\ncrops/a.png,cat\n", "name the column of grades with --grade-column"),
        ("thing,mos\nx,3\n", "name the column of images with --image-column"),
        ("image,mos\n../a.png,3\n", "climbs out"),
        ("", "lists no image"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, message, folder):
    with pytest.raises(SplitError, match=message):
        read_graded_table(table(folder, text))


def test_a_column_that_is_not_there_is_answered_with_those_that_are(folder):
    with pytest.raises(SplitError, match=r"--group-column is 'scene', but .*'image', 'mos'"):
        read_graded_table(table(folder, "image,mos\ncrops/a.png,1\n"), GradedColumns(group="scene"))


def test_a_file_of_another_form_is_refused(folder):
    with pytest.raises(ValueError, match="is no table of grades"):
        read_graded_table(folder / "crops" / "a.png")

"""Tables of records: what a row may lack, what is left out, and how groups become parts."""

import pytest
from PIL import Image

from datasets_fewshot.pairs.hashed_split import part_of
from datasets_fewshot.pairs.link_records import LinkRecord, RecordColumns, load_records
from datasets_fewshot.splits.validation import SplitError


@pytest.fixture
def write(tmp_path):
    """(lines of a table) -> its path, beside a.png and b.png."""
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")

    def written(*lines: str):
        (tmp_path / "records.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / "records.csv"

    return written


def test_a_record_may_lack_its_image_or_its_text(write):
    records = load_records(write("image,text,group", "a.png,a bell,1", "b.png,,1", ",a book,2"))
    assert sorted(records.all, key=lambda record: record.name) == [
        LinkRecord("", "a book", "2"), LinkRecord("a.png", "a bell", "1"), LinkRecord("b.png", "", "1"),
    ]  # fmt: skip
    assert records.load(records.all[0]).mode == "RGB" or not records.all[0].path


def test_groups_stay_together_and_their_hash_says_the_part(write):
    groups = [f"thing {place}" for place in range(40)]
    records = load_records(write("text,group", *(f"text {n},{group}" for n, group in enumerate(groups * 2))))
    for part in ("train", "val", "test"):
        own = getattr(records, part)
        assert all(part_of(record.group) == part for record in own)
        assert own
    assert any("hash" in note for note in records.notes)


def test_parts_that_the_table_names_are_kept(write):
    records = load_records(write("text,group,split", "x,1,train", "y,1,train", "z,2,test"))
    assert (len(records.train), len(records.val), len(records.test)) == (2, 0, 1)
    with pytest.raises(SplitError, match=r"the group '1' is in test here and in train in records\.csv: line 2"):
        load_records(write("text,group,split", "x,1,train", "y,1,test"))


def test_rows_without_anything_and_images_that_are_not_there_are_counted(write):
    records = load_records(write("image,text,group", "a.png,x,1", ",,1", "gone.png,y,2"))
    assert len(records.all) == 1
    assert "1 rows have neither image nor text" in records.notes[0]
    assert "'gone.png'" in records.notes[1]


def test_a_table_without_groups_can_still_be_read(write):
    records = load_records(write("title", "x", "y"))
    assert not records.has_groups
    assert len(records.test) == 2


def test_columns_are_named_by_the_user(write):
    path = write("where,what,thing", "a.png,a bell,1")
    records = load_records(path, RecordColumns("where", "what", "thing"))
    assert records.all == (LinkRecord("a.png", "a bell", "1"),)
    with pytest.raises(SplitError, match="--image-column is 'here'"):
        load_records(path, RecordColumns(image="here"))


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (("a,b", "1,2"), "none of them is of images or of texts"),
        (("text,group", "x,1", "y,"), "have no group, and others have one"),
        (("text,group,split", "x,1,train", "y,2,"), "have no part, and others have one"),
        (("image,group", "gone.png,1"), "no record is left"),
        (("image,group", "../a.png,1"), r"climbs out with '..'"),
        (("text,group",), "lists no record"),
    ],
)
def test_what_cannot_be_used_is_said(lines, complaint, write):
    with pytest.raises(SplitError, match=complaint):
        load_records(write(*lines))


def test_the_embedded_pairs_are_records_of_different_captions():
    records = load_records("mini_pairs")
    first, second = records.train[:2]
    assert first.group == second.group
    assert first.text != second.text
    with pytest.raises(ValueError, match="no columns to choose"):
        load_records("mini_pairs", RecordColumns(text="caption"))
    with pytest.raises(FileNotFoundError, match="there is nothing at"):
        load_records("no_such.csv")

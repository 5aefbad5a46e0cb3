"""What a path stands for: images of a folder or a table, texts of a file or of a column."""

import pytest
from PIL import Image

from datasets_fewshot.splits.validation import SplitError
from trainers.retrieval.sources import read_entries


@pytest.fixture
def place(tmp_path):
    for name in ("b/1.png", "a/2.jpg", "3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "notes.md").write_text("no image")
    return tmp_path


def test_a_folder_gives_all_images_below_it_in_order(place):
    entries = read_entries(str(place))
    assert (entries.kind, entries.root) == ("images", str(place.resolve()))
    assert list(entries.names) == ["3.png", "a/2.jpg", "b/1.png"]


def test_a_table_gives_its_images_in_its_order_without_classes(place):
    (place / "table.csv").write_text("path,caption\nb/1.png,one\n3.png,two\nb/1.png,again\nnone.png,missing\n")
    entries = read_entries(str(place / "table.csv"))
    assert list(entries.names) == ["b/1.png", "3.png"]
    assert "1 of 3 images of table.csv are not there" in entries.notes[-1]


def test_a_column_of_a_table_gives_texts(place):
    (place / "table.csv").write_text("path,caption\nb/1.png, one  text\n3.png,two\na/2.jpg,\n")
    entries = read_entries(str(place / "table.csv"), text_column="Caption")
    assert (entries.kind, entries.root, list(entries.names)) == ("texts", "", ["one text", "two"])


def test_other_columns_and_encodings_are_named(place):
    (place / "table.tsv").write_bytes("wo\twas\n3.png\tgrün\n".encode("cp1252"))
    assert list(read_entries(str(place / "table.tsv"), path_column="wo", encoding="cp1252").names) == ["3.png"]
    texts = read_entries(str(place / "table.tsv"), text_column="was", encoding="cp1252")
    assert list(texts.names) == ["grün"]
    with pytest.raises(SplitError, match=r"--text-column is 'which', but .* has the columns 'wo', 'was'"):
        read_entries(str(place / "table.tsv"), text_column="which", encoding="cp1252")
    with pytest.raises(SplitError, match="--path-column is 'which'"):
        read_entries(str(place / "table.tsv"), path_column="which", encoding="cp1252")


def test_a_text_file_gives_its_lines(place):
    (place / "texts.txt").write_text("one\n\n two  words\n")
    entries = read_entries(str(place / "texts.txt"))
    assert (entries.kind, list(entries.names)) == ("texts", ["one", "two words"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path\nnone.png\n", "none of its 1 images is there, the first on line 2: 'none.png'"),
        ("path,x\n,a\n", "line 2 has no path"),
        ("path\n../a.png\n", "climbs out"),
        ("path\n", "lists no image"),
        ("colour,shape\nred,round\n", "name the column of images"),
    ],
)
def test_a_table_without_usable_images_is_one_clear_error(place, content, message):
    (place / "table.csv").write_text(content)
    with pytest.raises(SplitError, match=message):
        read_entries(str(place / "table.csv"))


def test_what_is_no_data_is_one_clear_error(place):
    (place / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image; they end in"):
        read_entries(str(place / "empty"))
    with pytest.raises(FileNotFoundError, match="there is no data"):
        read_entries(str(place / "none"))
    with pytest.raises(FileNotFoundError, match="there is no list of texts"):
        read_entries(str(place / "none.txt"))
    with pytest.raises(ValueError, match=r"notes\.md.* is no data for an index; give a folder of images, a table"):
        read_entries(str(place / "notes.md"))

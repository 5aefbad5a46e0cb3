"""Data sets of Hugging Face on disk: what `save_to_disk` wrote, and Parquet of the Hub."""

import io
import json
import sys

import pytest
from PIL import Image

from datasets_fewshot import SplitError, load_own_data
from datasets_fewshot.own.hf_folder import is_hf_folder
from datasets_fewshot.store.cache_folder import cache_folder

NAMES = ["indoor/outdoor", "cat"]
FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ADAPTKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


def photo(index):
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (index, 9, 9)).save(content, "PNG")
    return content.getvalue()


def table(features=FEATURES, **columns):
    """Six photos with labels 0 and 1 in turns; `columns` are added, or replace those."""
    pyarrow = pytest.importorskip("pyarrow")
    content = {"image": [{"bytes": photo(index), "path": None} for index in range(6)], "label": [0, 1] * 3, **columns}
    made = pyarrow.table({name: column for name, column in content.items() if column is not None})
    info = json.dumps({"info": {"features": features}})
    return made.replace_schema_metadata({"huggingface": info}) if features else made


def write_parquet(content, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("pyarrow.parquet").write_table(content, file)
    return file


def write_saved(content, folder, rows_per_file=4):
    """As `Dataset.save_to_disk` writes it."""
    ipc = pytest.importorskip("pyarrow.ipc")
    folder.mkdir(parents=True)
    files = []
    for first in range(0, content.num_rows, rows_per_file):
        files.append({"filename": f"data-{len(files):05d}-of-00002.arrow"})
        with ipc.new_stream(folder / files[-1]["filename"], content.schema) as stream:
            stream.write_table(content.slice(first, rows_per_file))
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_fingerprint": "photos"}))
    return folder


def saved_parts(content, folder, parts=("train", "test")):
    for part in parts:
        write_saved(content, folder / part)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(parts)}))
    return folder


def assert_photos(dataset, sizes):
    assert dataset.classnames == ("cat", "indoor/outdoor")
    assert [len(items) for items in dataset.split] == sizes
    pixels = {dataset.load(item).getpixel((0, 0)): item.classname for items in dataset.split for item in items}
    assert pixels == {(index, 9, 9): NAMES[index % 2] for index in range(6)}


def test_what_save_to_disk_wrote_is_read(tmp_path):
    assert_photos(load_own_data(saved_parts(table(), tmp_path / "hf")), [6, 0, 6])
    assert sum(map(len, load_own_data(write_saved(table(), tmp_path / "whole")).split)) == 6


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("train.parquet", "test.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
    ],
)
def test_parquet_of_the_hub_is_read(tmp_path, names):
    for name in names:
        write_parquet(table(), tmp_path / "hub" / name)
    (tmp_path / "hub" / "README.md").write_text("a card")
    assert_photos(load_own_data(tmp_path / "hub"), [6, 0, 6])


def test_one_file_of_parquet_is_read(tmp_path):
    file = write_parquet(table(), tmp_path / "photos.parquet")
    assert sum(map(len, load_own_data(file).split)) == 6
    assert (tmp_path / "photos.split.json").is_file()


def test_rows_of_several_files_are_joined_and_rewritten_files_are_read_anew(tmp_path):
    for part in range(2):
        write_parquet(table(), tmp_path / "hub" / f"train-0000{part}-of-00002.parquet")
    assert len(load_own_data(tmp_path / "hub").split.train) == 12
    write_parquet(table(label=[1, 1, 0] * 2), tmp_path / "hub" / "train-00001-of-00002.parquet")
    assert sum(item.classname == "cat" for item in load_own_data(tmp_path / "hub").split.train) == 7


TEXTS = ["a", "b", "c", "d", "e", "f"]
TWO_LABELS = {**FEATURES, "coarse": {"names": ["x", "y"], "_type": "ClassLabel"}}
WORDS = {"image": {"_type": "Image"}}


def test_the_class_labels_are_the_classes_whatever_words_come_before(tmp_path):
    file = write_parquet(table({**FEATURES, "caption": {"_type": "Value"}}, caption=TEXTS), tmp_path / "a.parquet")
    assert load_own_data(file).classnames == ("cat", "indoor/outdoor")


def test_two_columns_of_class_labels_are_asked_about(tmp_path):
    file = write_parquet(table(TWO_LABELS, coarse=[1, 0] * 3), tmp_path / "a.parquet")
    with pytest.raises(SplitError, match=r"image, label, coarse, and it is not clear which .* --label-column label"):
        load_own_data(file)
    assert load_own_data(file, label_column="coarse").classnames == ("x", "y")
    assert load_own_data(file, label_column="label", redraw=True).classnames == ("cat", "indoor/outdoor")


def test_words_are_classes_only_if_they_are_called_so_or_asked_for(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    words = pyarrow.array(["cat", "dog"] * 3, type=pyarrow.large_string())
    file = write_parquet(table(WORDS, label=None, caption=words), tmp_path / "a.parquet")
    with pytest.raises(SplitError, match="not clear which has the classes; name it, as --label-column caption"):
        load_own_data(file)
    assert load_own_data(file, label_column="caption").classnames == ("cat", "dog")
    file = write_parquet(table(WORDS, label=words, caption=TEXTS), tmp_path / "b.parquet")
    assert load_own_data(file).classnames == ("cat", "dog")


def test_numbers_without_names_are_classes_in_the_order_of_numbers(tmp_path):
    file = write_parquet(table(None, label=[10, 9, 10, 9, 2, 2]), tmp_path / "a.parquet")
    assert load_own_data(file).classnames == ("2", "9", "10")


MISTAKES = {
    "no class": ({"label": [0, 1, None, 1, 0, 1]}, r"train-0\.parquet': row 2 has no class in the column 'label'"),
    "a secret class": ({"label": [0, 1, 0, -1, 0, 1]}, "row 3 has no class .* kept secret"),
    "an empty word": ({"features": WORDS, "label": ["a", "", "a", "b", "a", "b"]}, "row 1 has no class"),
    "a number too large": ({"label": [0, 1, 0, 7, 0, 1]}, "row 3: the class is 7; expected a number from 0 to 1"),
    "no image": ({"image": [{"bytes": b"", "path": None}] * 6}, "row 0 has no image"),
    "an image elsewhere": ({"image": [{"bytes": None, "path": "/etc/passwd"}] * 6}, "row 0: the path '/etc/passwd'"),
    "no image column": ({"features": None, "image": ["x"] * 6}, "it needs one of images"),
    "a list for a class": ({"features": WORDS, "label": [[1], [2]] * 3}, "row 0: the class is .*expected a word"),
}


@pytest.mark.parametrize(("columns", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_row_that_cannot_be_used_is_named_and_nothing_is_kept(tmp_path, columns, message):
    write_parquet(table(**columns), tmp_path / "hub" / "train-0.parquet")
    with pytest.raises(SplitError, match=message):
        load_own_data(tmp_path / "hub")
    assert not list((cache_folder() / "hf").glob("*"))
    assert not list((cache_folder() / "hf").glob(".*"))


def test_a_column_that_is_not_there_is_named(tmp_path):
    file = write_parquet(table(), tmp_path / "a.parquet")
    with pytest.raises(SplitError, match=r"--label-column kind: .*a\.parquet' has the columns image, label"):
        load_own_data(file, label_column="kind")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "run git lfs pull"),
        (b"<!doctype html>", "is no Parquet that can be read .* download it again"),
        (b"", "is no Parquet that can be read"),
        (b"PAR1" + b"x" * 40 + b"PAR1", "is no Parquet that can be read"),
    ],
)
def test_a_file_that_is_no_parquet_is_named(tmp_path, content, message):
    pytest.importorskip("pyarrow")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "train.parquet").write_bytes(content)
    with pytest.raises(SplitError, match=message):
        load_own_data(tmp_path / "hub")


def test_damaged_lists_of_parts_and_files_are_named(tmp_path):
    folder = saved_parts(table(), tmp_path / "hf")
    for name, contents in {
        "dataset_dict.json": ('{"splits": ["train", "extra"]}', "[]", "{"),
        "train/state.json": ("{}", '{"_data_files": [{"filename": "../../x.arrow"}]}', "<html>"),
        "train/data-00000-of-00002.arrow": ("", "no arrow"),
    }.items():
        before = (folder / name).read_bytes()
        for content in contents:
            (folder / name).write_text(content)
            with pytest.raises(ValueError, match=name.rpartition("/")[2] if content != contents[0] else "hf") as caught:
                load_own_data(folder)
            assert "\n" not in str(caught.value)
        (folder / name).write_bytes(before)


def test_configurations_are_not_mixed(tmp_path):
    for name in ("small", "large"):
        write_parquet(table(), tmp_path / "hub" / name / "train-0.parquet")
    with pytest.raises(SplitError, match=r"has train in several folders \(.*large, .*small\); name one of them"):
        load_own_data(tmp_path / "hub")


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    with pytest.raises(ImportError, match="pip install pyarrow"):
        load_own_data(tmp_path)


def test_parquet_beside_images_does_not_make_a_hugging_face_folder(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(photo(1))
    (tmp_path / "metadata.parquet").write_bytes(b"")
    assert not is_hf_folder(tmp_path)

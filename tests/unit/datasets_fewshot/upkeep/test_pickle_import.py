import os
import sys

import pytest

from datasets_fewshot import PAPER_DATASETS, Item, SplitError
from datasets_fewshot.upkeep.pickle_import import import_pickle
from tests.helpers.old_pickles import MODULE, Datum, pickled

DTD = PAPER_DATASETS["dtd"]


def written(tmp_path, content: bytes):
    path = tmp_path / "shot_1-seed_1.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "folder", ["/home/author/data/dtd/images", "C:\\Data\\dtd\\images", "/data/DTD/images", "/x/dtd/dtd/images"]
)
def test_paths_are_rerooted_from_any_machine_and_layout(tmp_path, folder, protocol):
    separator = "\\" if "\\" in folder else "/"
    record = Datum(separator.join([folder, "banded", "banded_0117.jpg"]))
    split = import_pickle(written(tmp_path, pickled({"train": [record], "val": []}, protocol)), DTD)
    assert split.train == (Item("banded/banded_0117.jpg", 0, "banded"),)
    assert split.test == ()


class Bomb:
    """Unpickles into a call."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def hostile_files(marker: str) -> dict[str, bytes]:
    run = f"open({marker!r}, 'w').close()"
    protocol_0 = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    extension = b"\x80\x02\x82\xf0."  # an entry of the extension registry
    outside = b"\x80\x02}X\x05\x00\x00\x00trainPsecret\ns."  # a persistent id
    class_call = b"\x80\x02c" + f"{MODULE}\nDatum\n".encode() + b"(X\x01\x00\x00\x00atR."
    nested = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93."
    dotted = b"\x80\x04\x8c\x23dassl.data.datasets.base_dataset\x8c\x0dDatum.__new__\x93."
    setstate = pickled({"train": [Datum("/a/dtd/images/x.jpg")]}).replace(b"_impath", b"__class")
    return {
        "system call": pickled(Bomb(os.system, f"touch {marker}")),
        "eval": pickled({"train": [Bomb(eval, run)], "val": []}),
        "exec inside a record": pickled({"train": [Datum(Bomb(exec, run))]}),
        "old protocol": protocol_0,
        "extension registry": extension,
        "persistent id": outside,
        "record called with arguments": class_call,
        "builtins": nested,
        "attribute of the record type": dotted,
        "import of a module": pickled({"train": Bomb(__import__, "antigravity")}),
        "attribute of another name": setstate,
    }


NAMES = list(hostile_files("x"))


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_pickle_is_refused_and_nothing_in_it_runs(tmp_path, name):
    marker = tmp_path / "it ran"
    path = written(tmp_path, hostile_files(str(marker).replace(" ", "_"))[name])
    before = set(sys.modules)
    with pytest.raises(SplitError):
        import_pickle(path, DTD)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert set(sys.modules) == before


def test_a_pickle_that_is_endless_when_written_out_is_refused_at_once(tmp_path):
    laughs: list[object] = ["ha"]
    for _ in range(60):
        laughs = [laughs, laughs]
    with pytest.raises(SplitError, match="no record of an image"):
        import_pickle(written(tmp_path, pickled({"train": [Datum("/data/dtd/images/a.jpg", laughs)]})), DTD)


def test_what_a_file_does_to_the_record_type_ends_with_the_file(tmp_path):
    # BUILD with a slot state sets attributes, here on the class itself.
    spoil = b"\x80\x02c" + f"{MODULE}\nDatum\n".encode() + b"N}X\x07\x00\x00\x00_impathX\x01\x00\x00\x00as\x86b."
    with pytest.raises(SplitError):
        import_pickle(written(tmp_path, spoil), DTD)
    with pytest.raises(SplitError, match="no record of an image"):
        import_pickle(written(tmp_path, pickled({"train": [object.__new__(Datum)]})), DTD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds no lists"),
        ({}, "holds no lists"),
        ({"train": [], "extra": []}, "holds no lists"),
        ({"train": {}}, "train is a dict"),
        ({"train": ["a.jpg"]}, r"train\[0\] is no record"),
        ({"train": [Datum("/data/food-101/images/pie/1.jpg")]}, r"train\[0\]: .* is not below a folder of DTD"),
        ({"train": [Datum("/data/dtd/images/../../etc/passwd")]}, "climbs out"),
        ({"train": [Datum("/data/dtd/images/a.jpg", "0")]}, "no record of an image"),
        ({"train": [Datum("/data/dtd/images/a.jpg", 0, 7)]}, "no record of an image"),
        ({"train": [Datum("/data/dtd/images/a.jpg", 5)]}, "labels run to 5"),
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path, content, message):
    with pytest.raises(SplitError, match=message):
        import_pickle(written(tmp_path, pickled(content)), DTD)


@pytest.mark.parametrize("content", [b"", b"\x80", b"{}", b"\x80\x05\x95", bytes(range(64))])
def test_bytes_that_are_no_pickle_are_refused(tmp_path, content):
    with pytest.raises(SplitError, match="not a few-shot list"):
        import_pickle(written(tmp_path, content), DTD)

"""Tables of images as tools write them: any separator, encoding, heading and machine."""

import os
from pathlib import Path

import pytest
from PIL import Image

from datasets_fewshot import SplitError, load_own_data

CLASSES, SHOTS = ("bear", "camel", "cat"), 5


def picture(path: Path, color: tuple[int, ...] = (200, 30, 10), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 6), color).save(path)
    return path


@pytest.fixture
def home(tmp_path) -> Path:
    """A folder with img/CLASS/NUMBER.png, five of each class, all different."""
    for place, name in enumerate(CLASSES):
        for shot in range(SHOTS):
            picture(tmp_path / "img" / name / f"{shot}.png", (place, shot, 0))
    return tmp_path


def lines(form: str, names=CLASSES) -> str:
    """A line per image: {path}, {name}, {label} and {shot} filled in."""
    return "".join(
        form.format(path=f"img/{folder}/{shot}.png", folder=folder, name=name, label=place, shot=shot) + "\n"
        for place, (folder, name) in enumerate(zip(CLASSES, names, strict=True))
        for shot in range(SHOTS)
    )


def classes_by_path(dataset) -> dict[str, str]:
    return {item.path: item.classname for part in dataset.split for item in part}


WANTED = {f"img/{name}/{shot}.png": name for name in CLASSES for shot in range(SHOTS)}


TABLES = {
    "headed.csv": "path,class\na/1.png,cat\na/2.png,dog\na/3.png,cat\n",
    "bare.csv": "a/1.png,cat\na/2.png,dog\na/3.png,cat\n",
    "tabbed.tsv": "filename\tlabel\tnotes\na/1.png\tcat\t\na/2.png\tdog\tblurred\na/3.png\tcat\t\n",
    "lines.jsonl": '{"path": "a/1.png", "class": "cat"}\n\n{"image": "a/2.png", "label": "dog"}\n'
    '{"file_name": "a/3.png", "category": "cat"}\n',
    "marked.csv": "\ufeffPath,Class\r\na/1.png,cat\r\na/2.png,dog\r\na/3.png,cat\r\n",
}


@pytest.mark.parametrize("file", TABLES)
def test_a_table_lists_images(tmp_path, file):
    for index in (1, 2, 3):
        picture(tmp_path / "a" / f"{index}.png")
    (tmp_path / file).write_text(TABLES[file], encoding="utf-8", newline="")
    dataset = load_own_data(tmp_path / file)
    assert dataset.classnames == ("cat", "dog")
    assert {item.path: item.classname for items in dataset.split for item in items} == {
        "a/1.png": "cat",
        "a/2.png": "dog",
        "a/3.png": "cat",
    }
    assert (tmp_path / file).with_suffix(".split.json").is_file()


def test_a_table_may_name_the_parts(tmp_path):
    for index in (1, 2):
        picture(tmp_path / f"{index}.png")
    table = tmp_path / "table.csv"
    table.write_text("path,class,split\n1.png,cat,train\n2.png,cat,test\n")
    assert [len(items) for items in load_own_data(table).split] == [1, 0, 1]
    table.write_text("path,class,split\n1.png,cat,train\n2.png,cat,\n")
    with pytest.raises(SplitError, match=r"'2\.png' and 0 more images have no part"):
        load_own_data(table)


UNDERSTOOD = {
    "semicolons": ("path;class\n" + lines("{path};{name}"), ""),
    "tabs in a .csv": ("path\tclass\n" + lines("{path}\t{name}"), ""),
    "pipes": ("path|class\n" + lines("{path}|{name}"), ""),
    "Excel's first line": ("sep=;\npath;class\n" + lines("{path};{name}"), ""),
    "backslashes": ("path,class\n" + lines("img\\{folder}\\{shot}.png,{name}"), ""),
    "a dot first": ("path,class\n" + lines("./{path},{name}"), ""),
    "another machine": ("path,class\n" + lines("/data/photos/{path},{name}"), "begin with 'data/photos'"),
    "a drive of Windows": (
        "path,class\n" + lines("C:\\Users\\me\\img\\{folder}\\{shot}.png,{name}"),
        "beside the table",
    ),
    "a bucket": ("path,class\n" + lines("gs://bucket/{path},{name}"), "begin with 'bucket'"),
    "capitals": ("path,class\n" + lines("IMG/{folder}/{shot}.PNG,{name}"), "capitals"),
    "Label Studio": (
        "image,id,choice,annotator\n" + lines("/data/local-files/?d=img/{folder}/{shot}.png,7,{name},1"),
        "",
    ),
    "Roboflow": (
        "filename,bear,camel,cat\n"
        + "".join(f"{path},{','.join(str(int(name == one)) for one in CLASSES)}\n" for path, name in WANTED.items()),
        "each of the columns bear, camel, cat is a class",
    ),
    "Google AutoML": (lines("TRAIN,gs://bucket/{path},{name}"), ""),
    "ids and names": ("image_id,label,class_name\n" + lines("{path},{label},{name}"), "column 'class_name', not from"),
    "the class first": (lines("{name},{path}"), ""),
    "headings in capitals": ("Image Path,Label\n" + lines("{path},{name}"), ""),
    "Kaggle's ids without endings": ("id,label\n" + lines("{folder}/{shot},{name}"), "below 'img'"),
    "quoted commas": ("path,class,notes\n" + lines('{path},{name},"a, b and ""c"""'), ""),
    "quotes behind spaces": ('"path", "class"\n' + lines('"{path}", "{name}"'), ""),
    "a note of two lines": ("path,class,notes\n" + lines('{path},{name},"a\nb"'), ""),
    "a very long field": (
        "path,class,notes\n" + lines("{path},{name},x") + "img/cat/0.png,cat," + "y" * 200_000,
        "repeat",
    ),
    "a column called like none": ("where,class\n" + lines("{path},{name}"), ""),
    "cells at the end that are empty": ("path,class\n" + lines("{path},{name},,"), ""),
}


@pytest.mark.parametrize("tool", UNDERSTOOD)
def test_a_table_is_understood_as_tools_write_it(home, tool):
    content, noted = UNDERSTOOD[tool]
    (home / "table.csv").write_text(content, newline="")
    dataset = load_own_data(home / "table.csv")
    assert classes_by_path(dataset) == WANTED
    assert noted in " | ".join(dataset.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_an_encoding_that_is_certain_is_recognised(home, encoding):
    names = ("Bär", "camel", "cat")
    (home / "table.csv").write_bytes(("path,class\n" + lines("{path},{name}", names)).encode(encoding))
    assert load_own_data(home / "table.csv").classnames == ("Bär", "camel", "cat")


def test_an_encoding_that_is_not_certain_has_to_be_named(home):
    content = ("path,class\n" + lines("{path},{name}", ("Bär", "camel", "cat"))).encode("cp1252")
    (home / "table.csv").write_bytes(content)
    with pytest.raises(
        SplitError, match=r"line 2 is not UTF-8 \(byte 0xe4\).*--encoding cp1252 .*'img/bear/0.png,Bär'"
    ):
        load_own_data(home / "table.csv")
    assert load_own_data(home / "table.csv", encoding="cp1252").classnames[0] == "Bär"
    with pytest.raises(SplitError, match=r"no encoding is called 'cp9999'"):
        load_own_data(home / "table.csv", encoding="cp9999")
    with pytest.raises(SplitError, match=r"is not text in ascii"):
        load_own_data(home / "table.csv", encoding="ascii")
    with pytest.raises(SplitError, match=r"no encoding is called 'hex'|no encoding of text|is not text in hex"):
        load_own_data(home / "table.csv", encoding="hex")


@pytest.mark.parametrize(
    ("heading", "form"), [("filepath,breed", "{path},{name}"), ("filepath,breed,who", "{path},{name},me")]
)
def test_headings_that_nobody_knows_are_listed_and_can_be_named(home, heading, form):
    (home / "table.csv").write_text(f"{heading}\n" + lines(form))
    with pytest.raises(SplitError, match=r"has the columns 'filepath', 'breed'.*--label-column breed"):
        load_own_data(home / "table.csv")
    assert classes_by_path(load_own_data(home / "table.csv", label_column="breed")) == WANTED
    assert classes_by_path(load_own_data(home / "table.csv", label_column="Breed", path_column="filepath")) == WANTED
    with pytest.raises(SplitError, match=r"--label-column is 'bread', but .* has the columns 'filepath', 'breed'"):
        load_own_data(home / "table.csv", label_column="bread")


def test_columns_without_a_heading_are_named_by_number(home):
    (home / "table.csv").write_text(lines("{path},{name},{label}"))
    with pytest.raises(SplitError, match=r"no heading, and the class may stand in the columns 2, 3.*--label-column 2"):
        load_own_data(home / "table.csv")
    assert classes_by_path(load_own_data(home / "table.csv", label_column="2")) == WANTED


BROKEN = {
    "no class": ("path,class\n1.png,\n", r"line 2 has no class in its column 'class'.*fill it in"),
    "an empty class in JSON": ('{"path": "1.png", "class": null}\n', "line 1 has no class"),
    "elsewhere": ("path,class\n/etc/9.png,cat\n", "none of its 1 images is there; line 2: the path '/etc/9.png'"),
    "climbing": ("path,class\n../1.png,cat\n", "line 2: .* climbs out"),
    "a part": ("path,class,split\n1.png,cat,dev\n", "line 2: the part is 'dev'; use train, val or test"),
    "only a heading": ("path,class\n", "lists no image"),
    "nothing": ("", "lists no image"),
    "no JSON": ('{"path": "1.png"\n', "line 1 is not JSON"),
    "a list": ('["1.png", "cat"]\n', "line 1 is .*; expected"),
    "deep JSON": ("[" * 100_000 + "\n", "line 1 is not JSON"),
    "an open quote": (
        'path,class\n"1.png,cat\n2.png,dog\n',
        "row that begins on line 2 cannot be read.*close its quotes",
    ),
    "a quote around two lines": ('path,class\n"1.png\n2.png",dog\n', "line 2: the path .* holds a line break"),
    "a comma too many": ("path,class\n1.png,a cat, black\n", "line 2 has 3 cells under 2 columns.*in quotes"),
    "one column": ("path\n1.png\n", "has the columns 'path', and none"),
    "two classes": ("path,a,b\n1.png,1,0\n2.png,1,1\n", "line 3 marks 2 of the classes a, b"),
    "a heading twice": ("path,class,Class\n1.png,cat,dog\n", "two columns called"),
    "a zero": ("path,class\n1\0.png,cat\n", "holds a line break or a zero"),
    "half a letter in JSON": ('{"path": "1.png", "class": "\\ud800"}\n', "line 1.*no text"),
    "binary": ("\x89PNG\r\n\x1a\n\0\0", "."),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_table_is_refused_at_its_line(tmp_path, fault):
    content, message = BROKEN[fault]
    table = tmp_path / ("t.jsonl" if content.startswith(("{", "[")) else "t.csv")
    table.write_text(content, newline="")
    picture(tmp_path / "1.png")
    picture(tmp_path / "2.png")
    with pytest.raises(SplitError, match=message):
        load_own_data(table)


def test_images_that_are_not_there_are_counted_and_all_of_them_is_an_error(home):
    (home / "img" / "cat" / "3.png").unlink()
    os.mkfifo(home / "img" / "cat" / "3.png")  # a pipe is no image, and nobody waits for it
    (home / "table.csv").write_text("path,class\n" + lines("{path},{name}") + "img/dog/0.png,dog\n")
    notes = " | ".join(load_own_data(home / "table.csv").notes)
    assert "2 of 16 images of table.csv are not there and were left out, the first on line 15: 'img/cat/3.png'" in notes
    assert "no image is left of the classes dog" in notes
    (home / "table.csv").write_text("path,class\n" + lines("pictures/{name}{shot}.png,{name}"))
    with pytest.raises(SplitError, match=r"none of its 15 images is there; line 2: the path 'pictures/bear0\.png'"):
        load_own_data(home / "table.csv")


def test_an_image_is_never_taken_for_one_of_another_folder(home):
    """Both end in "0.png", and the rest of the path says that it is another image."""
    (home / "table.csv").write_text(
        "path,class\n" + lines("{path},{name}") + "/data/dog/0.png,dog\n/data/dog/1.png,dog\n"
    )
    dataset = load_own_data(home / "table.csv")
    assert "2 of 17 images" in " | ".join(dataset.notes)
    assert classes_by_path(dataset) == WANTED


def test_an_image_that_is_listed_twice_counts_once_and_two_classes_of_it_are_refused(home):
    (home / "table.csv").write_text("path,class\n" + lines("{path},{name}") + "img/bear/1.png,bear\n")
    assert any(
        "1 lines of table.csv repeat an image and were left out: 17 (as 3)" in note
        for note in load_own_data(home / "table.csv").notes
    )
    (home / "table.csv").write_text("path,class\n" + lines("{path},{name}") + "./img/bear/1.png,cat\n")
    with pytest.raises(
        SplitError, match=r"line 17: the image './img/bear/1.png' has the class 'cat' here and 'bear' on line 3"
    ):
        load_own_data(home / "table.csv")


def test_a_label_that_is_corrected_in_the_table_counts_in_the_split_that_was_kept(home):
    (home / "table.csv").write_text("path,class\n" + lines("{path},{name}"))
    before = load_own_data(home / "table.csv")
    (home / "table.csv").write_text(
        ("path,class\n" + lines("{path},{name}")).replace("bear/1.png,bear", "bear/1.png,cat")
    )
    after = load_own_data(home / "table.csv")
    assert classes_by_path(after) == {**WANTED, "img/bear/1.png": "cat"}
    assert {i.path for i in after.split.test} == {i.path for i in before.split.test}
    assert any("1 images have another class than when table.split.json was drawn" in note for note in after.notes)


def test_options_of_tables_are_refused_for_folders(home):
    with pytest.raises(ValueError, match=r"are for tables, and .* is none"):
        load_own_data(home / "img", label_column="breed")


@pytest.mark.parametrize("form", ["metadata.csv", "metadata.jsonl"])
def test_an_imagefolder_of_hugging_face_is_read_with_its_parts(tmp_path, form):
    for part, shots in (("train", 3), ("test", 2)):
        rows = [(f"{name}{shot}.jpg", name) for name in CLASSES for shot in range(shots)]
        for place, (file, _) in enumerate(rows):
            picture(tmp_path / part / file, (place, shots, 0))
        text = "file_name,label\n" + "".join(f"{file},{name}\n" for file, name in rows)
        if form.endswith("jsonl"):
            text = "".join(f'{{"file_name": "{file}", "label": "{name}"}}\n' for file, name in rows)
        (tmp_path / part / form).write_text(text)
    picture(tmp_path / "test" / "unlisted.jpg")
    dataset = load_own_data(tmp_path)
    assert dataset.classnames == CLASSES
    assert [len(part) for part in dataset.split] == [9, 0, 6]
    assert any("1 images of 'test' are in no table" in note for note in dataset.notes)


def test_an_imagefolder_whose_metadata_stand_above_its_parts_is_read(home):
    (home / "img").rename(home / "train")
    picture(home / "test" / "0.png")
    text = "file_name,label\n" + lines("train/{folder}/{shot}.png,{name}") + "test/0.png,cat\n"
    (home / "metadata.csv").write_text(text)
    assert [len(part) for part in load_own_data(home).split] == [15, 0, 1]


def test_metadata_without_classes_say_which_columns_they_have(tmp_path):
    picture(tmp_path / "train" / "0.jpg")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,caption\n0.jpg,a cat on a mat\n")
    with pytest.raises(
        SplitError, match=r"metadata\.csv has the columns 'file_name', 'caption'.*--label-column caption"
    ):
        load_own_data(tmp_path)
    assert load_own_data(tmp_path, label_column="caption").classnames == ("a cat on a mat",)


@pytest.mark.parametrize(
    ("file", "advice"), [("t.xlsx", "save it as CSV"), ("t.json", "jsonl"), ("t.zip", "unpack it")]
)
def test_other_forms_are_refused_with_what_to_do(tmp_path, file, advice):
    (tmp_path / file).write_bytes(b"x")
    with pytest.raises(ValueError, match=f"is no folder, table.*{advice}"):
        load_own_data(tmp_path / file)

"""Files of class names and templates in other languages."""

import json

import pytest

from datasets_fewshot import load_dataset
from datasets_fewshot.languages import LabelsError, LanguageLabels, MultilingualLabels, embedded_labels
from datasets_fewshot.languages.pairs import pairs_of_names, read_text_pairs
from datasets_fewshot.mini.suite import MINI_DATASETS


def write(folder, **files):
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def test_a_folder_has_labels_templates_and_several_names(tmp_path):
    write(tmp_path, labels__DE__tsv="0\tKrähe\n\n2\tEiche; Eichbaum\n", templates__de__txt="ein Foto von {}.\n")
    write(tmp_path, labels__sw__tsv="1\tmti\n", templates__fr__txt="une photo de {}\n", README="nothing of ours")
    labels = MultilingualLabels.load(tmp_path)
    assert list(labels) == ["de", "sw"]
    assert labels["DE"] == LanguageLabels("de", (0, 2), (("Krähe",), ("Eiche", "Eichbaum")), ("ein Foto von {}.",))
    assert labels.without_templates == ("sw",)
    assert labels.unused_templates == ("fr",)
    assert list(labels.chosen(["SW"])) == ["sw"]


def test_json_of_the_paper_is_read_whatever_its_order(tmp_path):
    entries = {"SW": [[1], ["mti"]], "DE": [[2, 0], ["Eiche; alt", "Krähe"]]}
    for name, order in (("a.json", list(entries)), ("b.json", list(reversed(entries)))):
        (tmp_path / name).write_text(json.dumps({code: entries[code] for code in order}))
    (tmp_path / "prompts.json").write_text(json.dumps({"DE": ["{} hier"], "LA": ["imago {}"]}))
    first, second = (
        MultilingualLabels.load(tmp_path / name, tmp_path / "prompts.json") for name in ("a.json", "b.json")
    )
    assert dict(first) == dict(second)
    assert list(first) == ["de", "sw"]
    assert first["de"].names == (("Eiche; alt",), ("Krähe",))  # as released, a name is one name
    assert first["de"].templates == ("{} hier",)
    assert first.unused_templates == ("la",)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"labels__de__tsv": "0 Hund\n"}, "line 1 of .*labels.de.tsv.*expected a class's index, a tab and a name"),
        ({"labels__de__tsv": "-1\tHund\n"}, "line 1 of .*'-1.tHund'"),
        ({"labels__de__tsv": "0\tHund\n0\tKatze\n"}, "labels.de.tsv.*names class 0 twice"),
        ({"labels__de__tsv": "0\tHund; \n"}, "has the name .* for class 0; give it in words"),
        ({"labels__de__tsv": "\n"}, "names no class"),
        ({"labels__de__tsv": "0\tHund\n", "templates__de__txt": "ein Foto\n"}, "'ein Foto' .*needs exactly one {}"),
        ({"labels__de__tsv": "0\tHund\n", "templates__de__txt": "\n"}, "templates.de.txt' has no template"),
        ({"other": ""}, "has no file labels.<lang>.tsv"),
    ],
)
def test_a_wrong_folder_is_refused_with_the_place(files, words, tmp_path):
    with pytest.raises(LabelsError, match=words):
        MultilingualLabels.load(write(tmp_path, **files))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "holds a list; expected {LANG"),
        ({}, "no labels of any language"),
        ({"DE": [[0], ["Hund", "Katze"]]}, "has 1 class indices and 2 names"),
        ({"DE": [["0"], ["Hund"]]}, r"'DE' .*is not \[\[class indices\], \[names\]\]"),
        ({"../x": [[0], ["Hund"]]}, "is no code"),
        ({"DE": [[-3], ["Hund"]]}, "names class -3; indices are counted from 0"),
        ({"DE": [[0], ["Hund"]], "de": [[0], ["Hund"]]}, "language de is there twice"),
    ],
)
def test_a_wrong_json_is_refused(content, words, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(content))
    with pytest.raises(LabelsError, match=words):
        MultilingualLabels.load(tmp_path / "labels.json")


def test_prompts_without_a_place_for_the_name_are_refused(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"DE": [[0], ["Hund"]]}))
    for content, words in (({"DE": ["Hund"]}, "language 'DE'.*needs exactly one {}"), ({"DE": "{}"}, "not a list")):
        (tmp_path / "prompts.json").write_text(json.dumps(content))
        with pytest.raises(LabelsError, match=words):
            MultilingualLabels.load(tmp_path / "labels.json", tmp_path / "prompts.json")
    with pytest.raises(LabelsError, match="is a folder, which has its templates"):
        MultilingualLabels.load(tmp_path, tmp_path / "prompts.json")
    with pytest.raises(FileNotFoundError, match="check the path"):
        MultilingualLabels.load(tmp_path / "nothing.json")


def test_shared_names_and_parts():
    labels = LanguageLabels("xx", (4, 0, 2), (("a",), ("b",), ("a",)))
    assert labels.shared_names == {"a": (4, 2)}
    assert labels.of_classes([2, 4]).names == (("a",), ("a",))
    with pytest.raises(LabelsError, match="has no name for class 7"):
        labels.of_classes([7])
    with pytest.raises(LabelsError, match="there are no labels of language 'de'; there are xx"):
        MultilingualLabels([labels]).chosen(["de"])


@pytest.mark.parametrize("name", [name for name in MINI_DATASETS if name.startswith("emoji") and "sub" not in name])
def test_every_class_of_the_embedded_emoji_has_a_name_in_twelve_languages(name):
    labels = embedded_labels(name)
    assert len(labels) == 12
    assert all(own.indices == tuple(range(MINI_DATASETS[name]["classes"])) for own in labels.values())


def test_embedded_names_are_those_of_the_emoji():
    names = load_dataset("emoji_food").classnames
    pairs = dict(pairs_of_names(names, embedded_labels("emoji_food")["fr"]))
    assert pairs["baby bottle"] == "biberon"
    assert len(pairs_of_names(names, embedded_labels("emoji_food")["fr"], [0, 5])) == 2
    with pytest.raises(LabelsError, match="no names in other languages for the classes of 'icons'"):
        embedded_labels("icons")


def test_pairs_of_texts_are_read(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("dog\tHund\n\ncat \t Katze\n", encoding="utf-8")
    assert read_text_pairs(path) == [("dog", "Hund"), ("cat", "Katze")]
    for text, words in (("dog Hund\n", "line 1"), ("dog\t\n", "line 1"), ("\n", "has no pair of texts")):
        path.write_text(text)
        with pytest.raises(LabelsError, match=words):
            read_text_pairs(path)

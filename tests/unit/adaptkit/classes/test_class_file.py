"""Class names from files: every form, and every way in which it can be none."""

import json

import pytest

from adaptkit.classes.class_file import read_classes


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("corgi\nhusky\n", ("corgi", "husky")),
        ("\ufeffcorgi\r\n\r\n  Salt, pepper and Zürich \r\n", ("corgi", "Salt, pepper and Zürich")),
        ("n01\ttench\nn02\tgold fish, small\n", ("tench", "gold fish, small")),
        ("0\tcat\n1\tdog\n", ("cat", "dog")),
        ("737-200\n747-400\n", ("737-200", "747-400")),
        ("3 series\n5 series\n", ("3 series", "5 series")),
        ('["corgi", "a, b"]', ("corgi", "a, b")),
        ('{"n01": "tench", "n02": "eel"}', ("tench", "eel")),
    ],
)
def test_every_form_gives_the_names_in_the_order_of_the_file(tmp_path, text, names):
    file = tmp_path / "names.txt"
    file.write_text(text, encoding="utf-8", newline="")
    classes = read_classes(file)
    assert (classes.classnames, classes.sentences) == (names, None)


def test_an_object_of_lists_gives_every_class_its_own_sentences(tmp_path):
    file = tmp_path / "names.json"
    file.write_text(json.dumps({"golden_retriever": ["a {}, fetching.", "a dog with long hair."], "cat": ["a cat."]}))
    classes = read_classes(file)
    assert classes.classnames == ("golden_retriever", "cat")
    assert classes.texts == (("a golden retriever, fetching.", "a dog with long hair."), ("a cat.",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no class name"),
        (b" \n\n", "has no class name"),
        (b"cat\nn02\tdog\n", "line 1: 'cat' has no tab and line 2 has one"),
        (b"n01\t\n", "expected class<TAB>name"),
        (b"n01\tcat\textra\n", "expected class<TAB>name"),
        (b"0 cat\n1 dog\n2 eel\n", "begins with its number"),
        (b"1. cat\n2. dog\n", "begins with its number"),
        (b'["cat", 3]', "expected a JSON list of names"),
        (b'{"cat": 3}', "expected a JSON list of names"),
        (b'{"cat": ["a"], "dog": "b"}', "expected a JSON list of names"),
        (b'{"cat": []}', "give it a list of one or more"),
        (b'{"cat": [3]}', "give it a list of one or more"),
        (b'["cat", " "]', "give every class a name"),
        (b"[,]", "is not JSON"),
        (b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"caf\xe9\n", "UTF-8"),
    ],
)
def test_what_is_no_such_file_is_refused_with_its_reason(tmp_path, content, message):
    file = tmp_path / "names.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_classes(file)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        read_classes(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="is a folder"):
        read_classes(tmp_path)

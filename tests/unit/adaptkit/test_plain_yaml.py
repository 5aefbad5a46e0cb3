"""YAML that is read, and YAML that is refused in one line."""

import pytest

from adaptkit.plain_yaml import parse_yaml, read_yaml
from adaptkit.regular_file import FileError


@pytest.mark.parametrize(
    "text",
    [
        "a: *b",
        "a: &b [1]\nc: [*b, *b]",
        "a: !!python/object/apply:os.system ['true']",
        "a: 2024-99-99",
        "a: !!int x",
        "? [1, 2]\n: 3\n? {a: 1}\n: 4",
        "\t",
        "[" * 20_000,
        "a: b: c",
    ],
)
def test_what_is_no_plain_yaml_is_one_line(text):
    with pytest.raises(FileError) as caught:
        parse_yaml(text, "config", "a.yaml")
    assert "\n" not in str(caught.value)


def test_plain_values_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("OPTIM: {LR: 0.1}\nMETHODS: [coop, maple]\n")
    assert read_yaml(tmp_path / "a.yaml", "config") == {"OPTIM": {"LR": 0.1}, "METHODS": ["coop", "maple"]}


def test_a_key_that_stands_twice_is_refused_with_its_line():
    with pytest.raises(ValueError, match="'b' stands twice, again on line 4"):
        parse_yaml("a: 1\nb:\n  c: 1\nb: 2\n", "config", "x.yaml")
    assert parse_yaml("1: 2\n'1': 3\n", "config", "x.yaml") == {1: 2, "1": 3}

"""The door for files: what it refuses, what it reads, and that it never waits."""

import codecs
import os
import socket

import pytest

from adaptkit.regular_file import MAX_DEPTH, FileError, open_regular, read_bytes, read_json, read_text, said


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="is a pipe; give a regular file"):
        open_regular(tmp_path / "pipe", "table")


def test_a_link_to_an_endless_device_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(FileError, match="is a device"):
        read_bytes(tmp_path / "link", "checkpoint")


def test_a_folder_and_a_socket_are_refused(tmp_path):
    with pytest.raises(FileError, match="folder"):
        read_text(tmp_path, "table")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(FileError, match=r"give a (regular )?file"):
            read_text(tmp_path / "s", "table")


def test_a_missing_file_and_an_empty_path_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no table"):
        read_text(tmp_path / "none.csv", "table")
    with pytest.raises(FileError, match="is empty"):
        read_text("", "table")
    with pytest.raises(FileError, match="cannot read the table"):
        read_text("a\0b", "table")
    with pytest.raises(FileError, match="give the full path"):
        read_text("~nobody_here/x", "table")


def test_no_more_is_read_than_the_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", "table", most=5) == b"12345"
    with pytest.raises(FileError, match="has 5 bytes; at most 4 are read"):
        read_bytes(tmp_path / "a", "table", most=4)


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_text_is_read_in_the_encoding_of_its_byte_order_mark(tmp_path, mark, encoding):
    (tmp_path / "a").write_bytes(mark + "Füße".encode(encoding))
    assert read_text(tmp_path / "a", "table") == "Füße"


def test_other_encodings_are_named_with_the_byte_that_shows_it(tmp_path):
    (tmp_path / "a.csv").write_bytes("caf\xe9".encode("cp1252"))
    with pytest.raises(FileError, match=r"a\.csv' is not text in UTF-8 \(byte 3 is 0xe9\); save it as UTF-8"):
        read_text(tmp_path / "a.csv", "table")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON \\(it is empty\\)"),
        ("{", "not JSON"),
        ("<!DOCTYPE html><html></html>", "web page, not JSON; download the file itself again"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "nested too deeply"),
        ("1" * 5000, "not JSON"),
    ],
)
def test_what_is_no_json_is_one_line(tmp_path, text, problem):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileError, match=problem) as caught:
        read_json(tmp_path / "a.json", "split file")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_nesting_up_to_the_limit_is_read(tmp_path):
    (tmp_path / "a.json").write_text("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert read_json(tmp_path / "a.json", "split file")


def test_names_that_are_no_text_can_be_printed():
    assert said(os.fsdecode(b"a\xff\n.csv")).isascii()

import errno

import pytest

from adaptkit.artefacts.atomic_file import replacing, write_text


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "table.md", "old")
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "table.md")
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    assert (tmp_path / "table.md").read_text() == "old"


def write_half(path):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_a_write_replaces_in_one_step(tmp_path):
    path = tmp_path / "new" / "table.md"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["table.md"]


def test_a_full_disk_is_named_with_the_file_and_what_to_do(tmp_path):
    with pytest.raises(OSError, match="make room and start again") as caught:
        write_to_a_full_disk(tmp_path / "table.md")
    assert caught.value.filename == str(tmp_path / "table.md")
    assert list(tmp_path.iterdir()) == []


def write_to_a_full_disk(path):
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "no space")

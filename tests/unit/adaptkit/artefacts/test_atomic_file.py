import errno
import os

import pytest

from adaptkit.artefacts import atomic_file
from adaptkit.artefacts.atomic_file import is_half_written, replacing, write_text


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


def half_written(path, pid, machine=None):
    """What a process leaves that is killed while it writes `path`."""
    left = path.with_name(f".{path.name}.{machine or atomic_file._machine()}-{pid}-0a1b2c3d")
    left.write_text("half")
    return left


@pytest.fixture
def dead():
    """The id of a process that has ended."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process cannot be asked without a signal")
def test_what_a_killed_process_left_is_removed_by_the_next_write_of_the_file(tmp_path, dead):
    path = tmp_path / "table.md"
    left = half_written(path, dead)
    other = half_written(tmp_path / "other.md", dead)
    assert is_half_written(left)
    write_text(path, "whole")
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_what_a_process_is_writing_stays(tmp_path, dead):
    path = tmp_path / "table.md"
    being_written = [half_written(path, os.getppid()), half_written(path, dead, machine="00000000")]
    write_text(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([*being_written, path])
    for left in being_written:
        os.utime(left, (0, 0))  # nobody writes for so long
    write_text(path, "whole")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", [".table.md", ".table.md.swp", ".table.md.0a1b2c3d", "table.md.0a1b2c3d-1-0a1b2c3d"])
def test_files_of_others_with_similar_names_stay(tmp_path, name):
    (tmp_path / name).write_text("theirs")
    os.utime(tmp_path / name, (0, 0))
    write_text(tmp_path / "table.md", "whole")
    assert (tmp_path / name).read_text() == "theirs"
    assert not is_half_written(tmp_path / name)


def test_an_adapter_is_replaced_whole_or_not_at_all(tiny_clip, tmp_path, monkeypatch):
    import adaptkit
    from adaptkit.artefacts.config import ArtefactConfig

    method = adaptkit.create_method("clip_adapter", tiny_clip, ["cat", "dog"])
    method.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = adaptkit.create_method("taskres", tiny_clip, ["cat", "dog", "cow"])
    monkeypatch.setattr(ArtefactConfig, "to_json", lambda self: "\ud800")  # It cannot be written.
    with pytest.raises(UnicodeEncodeError):
        other.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    written = []
    monkeypatch.undo()
    write = type(tmp_path).write_bytes

    def fail_at_the_last(path, data):
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(type(tmp_path), "write_bytes", fail_at_the_last)
    with pytest.raises(OSError, match="No space"):
        other.save_pretrained(tmp_path)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

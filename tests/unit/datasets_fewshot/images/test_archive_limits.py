"""Archives cost what their bytes cost: sizes are looked at before anything is unpacked."""

import tarfile
import tracemalloc
import zipfile

import pytest

from datasets_fewshot.images import archives
from datasets_fewshot.images.archives import list_members, read_bytes
from datasets_fewshot.images.read import BadImageError, load_image


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_a_member_above_the_limit_is_refused_before_it_is_read(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(archives, "MAX_IMAGE_BYTES", 2**20)
    (tmp_path / "large.png").write_bytes(bytes(2**24))
    path = tmp_path / f"images{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / "large.png", "cat/large.png")
    else:
        with tarfile.open(path, "w") as archive:
            archive.add(tmp_path / "large.png", "cat/large.png")
    tracemalloc.start()
    with pytest.raises(BadImageError, match="at most 1048576 are read"):
        load_image(path / "cat/large.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


@pytest.mark.parametrize(
    ("offset", "value"), [(8, b"\x01\x00"), (10, b"\x63\x00"), (10, b"\x0e\x00"), (16, b"\x00\x00\x00\x00")]
)
def test_a_member_that_cannot_be_unpacked_is_one_error(tmp_path, offset, value):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/1.png", b"x" * 1000)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + offset : at + offset + len(value)] = value
    path.write_bytes(bytes(content))
    with pytest.raises(OSError, match=r"images\.zip"):
        read_bytes(path / "cat/1.png")
    assert list_members(path) == ["cat/1.png"]


def test_a_link_to_an_endless_device_is_no_image(tmp_path):
    (tmp_path / "1.png").symlink_to("/dev/zero")
    with pytest.raises(BadImageError, match="is a device"):
        load_image(tmp_path / "1.png")

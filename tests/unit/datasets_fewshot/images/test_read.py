import io
import multiprocessing
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_fewshot.dataset import Item
from datasets_fewshot.images.archives import list_members, read_bytes
from datasets_fewshot.images.read import BadImageError, load_image
from datasets_fewshot.splits.files_hash import files_hash

RED = (200, 30, 10)


def png(color: tuple[int, ...] = RED, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, "png")
    return file.getvalue()


def pixel(path: Path, reading: str = "paper") -> tuple[int, ...]:
    image = load_image(path, reading)  # type: ignore[arg-type]
    assert image.mode == "RGB"
    return tuple(image.getpixel((0, 0)))  # type: ignore[arg-type]


@pytest.fixture
def archive(tmp_path) -> Path:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("red cat/1.png", png())
        zipped.writestr("blue/1.png", png((0, 0, 255)))
    return path


def test_an_image_is_read_from_a_zip(archive):
    assert pixel(archive / "red cat" / "1.png") == RED


def test_an_image_is_read_from_a_tar(tmp_path):
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for name, color in (("a.png", RED), ("sub/b.png", (1, 2, 3))):
            info = tarfile.TarInfo(name)
            info.size = len(png(color))
            tar.addfile(info, io.BytesIO(png(color)))
    assert pixel(path / "sub" / "b.png") == (1, 2, 3)
    assert list_members(path) == ["a.png", "sub/b.png"]


def test_a_folder_that_is_called_like_an_archive_is_a_folder(tmp_path):
    folder = tmp_path / "old.zip"
    folder.mkdir()
    (folder / "1.png").write_bytes(png())
    assert pixel(folder / "1.png") == RED


def test_a_replaced_archive_is_opened_anew(archive):
    load_image(archive / "red cat" / "1.png")
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("red cat/1.png", png((9, 9, 9), size=(60, 40)))
    assert pixel(archive / "red cat" / "1.png") == (9, 9, 9)


def read_often(archive: Path, member: str) -> bool:
    expected = {"red cat/1.png": RED, "blue/1.png": (0, 0, 255)}[member]
    return all(pixel(archive / member) == expected for _ in range(100))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_forked_workers_read_one_archive_without_disturbing_each_other(archive):
    load_image(archive / "blue" / "1.png")  # the parent has it open before it forks
    with multiprocessing.get_context("fork").Pool(2) as pool:
        jobs = [(archive, "red cat/1.png"), (archive, "blue/1.png")] * 2
        assert all(pool.starmap(read_often, jobs))


def test_a_member_that_is_not_there_is_named(archive):
    with pytest.raises(FileNotFoundError, match=r"no member 'green/1\.png'"):
        read_bytes(archive / "green" / "1.png")


def test_palette_and_grey_and_cmyk_become_rgb(tmp_path):
    Image.new("RGB", (4, 4), RED).quantize(4).save(tmp_path / "palette.png")
    Image.new("L", (4, 4), 77).save(tmp_path / "grey.PNG")
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    assert pixel(tmp_path / "palette.png") == RED
    assert pixel(tmp_path / "grey.PNG") == (77, 77, 77)
    assert np.allclose(pixel(tmp_path / "cmyk.jpg"), (255, 0, 0), atol=6)


def test_sixteen_bit_images_keep_their_brightness(tmp_path):
    Image.fromarray(np.full((4, 4), 0x8080, np.uint16)).save(tmp_path / "deep.png")
    assert pixel(tmp_path / "deep.png") == (128, 128, 128)


def test_transparency_is_dropped_in_papers_and_white_in_photos(tmp_path):
    (tmp_path / "clear.png").write_bytes(png((10, 20, 30, 0), mode="RGBA"))
    assert pixel(tmp_path / "clear.png") == (10, 20, 30)
    assert pixel(tmp_path / "clear.png", "upright") == (255, 255, 255)


def test_a_turned_photo_is_turned_upright_only_where_asked(tmp_path):
    photo = Image.new("RGB", (6, 4), RED)
    exif = photo.getexif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    photo.save(tmp_path / "photo.jpg", exif=exif)
    assert load_image(tmp_path / "photo.jpg").size == (6, 4)
    assert load_image(tmp_path / "photo.jpg", "upright").size == (4, 6)


@pytest.mark.parametrize("content", [b"", b"not an image", png(size=(200, 200))[:-40], png()[:20]])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "bad photo.png"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=r"bad photo\.png"):
        load_image(path)


def test_a_truncated_jpeg_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:2000])
    with pytest.raises(BadImageError, match=r"cut\.jpg"):
        load_image(tmp_path / "cut.jpg")


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"PK but no archive")
    with pytest.raises(BadImageError, match=r"set\.zip"):
        load_image(tmp_path / "set.zip" / "1.png")


def test_the_hash_of_files_sees_a_replaced_image(tmp_path, archive):
    items = [Item("a.png", 0, "a")]
    (tmp_path / "a.png").write_bytes(png())
    before = files_hash(tmp_path, items)
    assert files_hash(tmp_path, items) == before
    (tmp_path / "a.png").write_bytes(png(size=(50, 50)))
    assert files_hash(tmp_path, items) != before
    inside = [Item("blue/1.png", 0, "a")]
    before = files_hash(archive, inside)
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("blue/1.png", png((0, 0, 254)))
    assert files_hash(archive, inside) != before

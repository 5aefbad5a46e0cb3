import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets_fewshot import SplitError, load_own_data, read_split
from datasets_fewshot.dataset import Item
from datasets_fewshot.own.auto_split import auto_split
from datasets_fewshot.own.load import SPLIT_FILE
from datasets_fewshot.store.cache_folder import cache_folder


def picture(path: Path, color: tuple[int, ...] = (200, 30, 10), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 6), color).save(path)
    return path


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes of ten images, one of them nested."""
    root = tmp_path / "my photos"
    for index in range(10):
        picture(root / "cat" / f"{index}.png", (index, 0, 0))
        picture(root / "Müllers Hund" / "2024" / "july" / f"IMG {index}.JPG", (0, index, 0))
    return root


def test_class_folders_become_classes_and_the_split_is_stratified_and_kept(photos):
    dataset = load_own_data(photos)
    assert dataset.name == "my photos"
    assert dataset.classnames == ("Müllers Hund", "cat")
    assert [len(items) for items in dataset.split] == [10, 4, 6]
    assert {sum(item.label == 0 for item in items) * 2 - len(items) for items in dataset.split} == {0}
    assert read_split(photos / SPLIT_FILE) == dataset.split
    assert load_own_data(photos, seed=99).split == dataset.split  # the kept one
    assert "seed 1" in dataset.notes[0]
    assert dataset.load(dataset.split.test[0]).size == (8, 6)


def test_another_seed_gives_another_split(photos):
    first = load_own_data(photos, seed=1).split
    (photos / SPLIT_FILE).unlink()
    assert load_own_data(photos, seed=2).split != first


def test_images_that_came_after_the_split_are_counted_in_the_notes(photos):
    load_own_data(photos)
    picture(photos / "cat" / "new.png")
    assert any("1 images are newer" in note for note in load_own_data(photos).notes)


def test_a_folder_that_cannot_be_written_still_loads(photos, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("datasets_fewshot.own.kept_split.write_split", refuse)
    assert "not kept" in load_own_data(photos).notes[0]


def test_train_val_and_test_folders_are_taken_as_they_are(tmp_path):
    for part, count in (("train", 3), ("Validation", 1), ("test", 2)):
        for name in ("dog", "cat"):
            for index in range(count):
                picture(tmp_path / part / name / f"{part}{index}.png")
    dataset = load_own_data(tmp_path)
    assert [len(items) for items in dataset.split] == [6, 2, 4]
    assert dataset.classnames == ("cat", "dog")
    assert not (tmp_path / SPLIT_FILE).exists()


def test_a_class_that_is_called_test_is_a_class(tmp_path):
    for name in ("test", "exam"):
        for index in range(4):
            picture(tmp_path / name / f"{index}.png")
    assert load_own_data(tmp_path).classnames == ("exam", "test")


def test_links_are_followed_once_and_loops_end(photos):
    (photos / "cat" / "again.png").symlink_to(photos / "cat" / "0.png")
    (photos / "cat" / "loop").symlink_to(photos / "cat", target_is_directory=True)
    (photos / "cat" / "home").symlink_to(photos, target_is_directory=True)
    (photos / "owl").symlink_to(photos / "owls elsewhere", target_is_directory=True)
    picture(photos.parent / "attic" / "owl.png")
    (photos / "tawny owl").symlink_to(photos.parent / "attic", target_is_directory=True)
    dataset = load_own_data(photos)
    assert sum(len(items) for items in dataset.split) == 21
    assert "tawny owl" in dataset.classnames


def test_one_file_in_two_classes_is_refused(photos):
    (photos / "dog").mkdir()
    (photos / "dog" / "0.png").symlink_to(photos / "cat" / "0.png")
    with pytest.raises(SplitError, match=r"'cat/0\.png' and 'dog/0\.png' are one file"):
        load_own_data(photos)


def test_hidden_files_and_empty_classes_are_left_out(photos):
    picture(photos / "cat" / "._0.png")
    picture(photos / ".thumbnails" / "0.png")
    (photos / "dodo").mkdir()
    dataset = load_own_data(photos)
    assert sum(len(items) for items in dataset.split) == 20
    assert any("1 class folders hold no image: dodo" in note for note in dataset.notes)


def test_a_folder_without_class_folders_says_what_to_do(tmp_path):
    picture(tmp_path / "a.png")
    with pytest.raises(SplitError, match="put the images of each class into a folder"):
        load_own_data(tmp_path)


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing at"):
        load_own_data(tmp_path / "nowhere")


def test_photos_are_turned_upright_and_transparency_is_white(tmp_path):
    for index in range(3):
        photo = Image.new("RGB", (8, 6))
        exif = photo.getexif()
        exif[0x0112] = 8
        (tmp_path / "a").mkdir(exist_ok=True)
        photo.save(tmp_path / "a" / f"{index}.jpg", exif=exif)
        picture(tmp_path / "b" / f"{index}.png", (9, 9, 9, 0), "RGBA")
    dataset = load_own_data(tmp_path)
    images = {item.label: dataset.load(item) for items in dataset.split for item in items}
    assert images[0].size == (6, 8)
    assert images[1].getpixel((0, 0)) == (255, 255, 255)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def test_unreadable_images_are_named_and_skipped_only_where_asked(photos):
    damage(photos / "cat" / "3.png")
    (photos / "cat" / "4.png").write_text("no image")
    with pytest.raises(ValueError, match=r"2 images cannot be read: 'cat/3.png', 'cat/4.png'; .*--skip-bad"):
        load_own_data(photos)
    dataset = load_own_data(photos, skip_bad=True)
    assert sum(len(items) for items in dataset.split) == 18
    assert "2 unreadable images were left out" in dataset.notes
    assert "2 unreadable images were left out" in load_own_data(photos, skip_bad=True).notes


def test_a_link_to_an_image_that_is_gone_is_named(photos):
    (photos / "cat" / "gone.png").symlink_to(photos / "cat" / "moved.png")
    with pytest.raises(ValueError, match=r"1 images cannot be read: 'cat/gone\.png'"):
        load_own_data(photos)
    assert sum(len(items) for items in load_own_data(photos, skip_bad=True).split) == 20


def test_images_are_decoded_once_and_again_after_a_change(photos, monkeypatch):
    load_own_data(photos)
    decoded: list[Path] = []
    name = "datasets_fewshot.own.checked_images._pixels_hash"
    monkeypatch.setattr(name, lambda path: decoded.append(path) or path.name)
    load_own_data(photos)
    assert decoded == []
    os.utime(photos / "cat" / "0.png", ns=(0, 0))
    load_own_data(photos)
    assert len(decoded) == 20


@pytest.mark.parametrize(
    "stored", ["[" * 100_000, "[]", '{"bad": 3}', '{"bad": [["cat/0.png"]], "same": []}', '{"bad": ["x"], "same": []}']
)
def test_a_damaged_result_of_a_check_is_made_anew(photos, stored):
    before = load_own_data(photos)
    (file,) = (cache_folder() / "checked").glob("*.json")
    file.write_text(stored)
    assert load_own_data(photos) == before
    assert json.loads(file.read_text())["bad"] == []


def test_a_split_of_ones_own_is_used(photos):
    rows = [[f"cat/{index}.png", 0, "cat"] for index in range(3)]
    own = photos.parent / "own.json"
    own.write_text(json.dumps({"train": rows[:2], "val": [], "test": rows[2:]}))
    dataset = load_own_data(photos, split=own)
    assert [len(items) for items in dataset.split] == [2, 0, 1]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("classnames.txt", "cat\ttabby cat\nMüllers Hund\tthe neighbour's dog\n"),
        ("classnames.txt", "cat tabby cat\nMüllers Hund the neighbour's dog\n"),
        ("classnames.txt", "the neighbour's dog\ntabby cat\n"),
        ("classnames.json", '{"cat": "tabby cat", "Müllers Hund": "the neighbour\'s dog"}'),
        ("classnames.json", '["the neighbour\'s dog", "tabby cat"]'),
    ],
)
def test_classes_are_named_by_a_file(photos, file, content):
    (photos / file).write_text(content, encoding="utf-8")
    assert load_own_data(photos).classnames == ("the neighbour's dog", "tabby cat")


def test_classes_are_named_by_the_caller(photos):
    assert load_own_data(photos, classnames=["dog", "tabby"]).classnames == ("dog", "tabby")
    assert load_own_data(photos, classnames={"cat": "lynx"}).classnames == ("Müllers Hund", "lynx")


def test_names_that_do_not_fit_are_refused(photos):
    with pytest.raises(ValueError, match="3 names for 2 classes; give one name each, in this order: Müllers Hund, cat"):
        load_own_data(photos, classnames=["a", "b", "c"])
    with pytest.raises(ValueError, match="names kat but the data have the classes"):
        load_own_data(photos, classnames={"kat": "cat"})


def shard(path: Path, samples: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in samples.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path) -> Path:
    image = picture(tmp_path / "source" / "1.png").read_bytes()
    folder = tmp_path / "shards"
    folder.mkdir()
    shard(folder / "a-000.tar", {"0001.png": image, "0001.cls": b"0\n", "0002.png": image, "0002.cls": b"1"})
    shard(folder / "a-001.tar", {"x/0003.png": image, "x/0003.json": b'{"label": 1}', "x/0003.txt.gz": b""})
    (folder / "classnames.txt").write_text("cat\ndog\n")
    return folder


def test_webdataset_shards_are_read_in_place(shards):
    dataset = load_own_data(shards)
    assert dataset.classnames == ("cat", "dog")
    items = [item for part in dataset.split for item in part]
    assert sorted(item.path for item in items) == ["a-000.tar/0001.png", "a-000.tar/0002.png", "a-001.tar/x/0003.png"]
    assert dataset.load(items[0]).getpixel((0, 0)) == (200, 30, 10)


def test_a_list_of_shards_names_the_ones_to_read(shards):
    (shards / "list.txt").write_text("a-001.tar\n")
    with pytest.raises(ValueError, match="2 names for 1 classes"):
        load_own_data(shards / "list.txt")
    assert load_own_data(shards / "list.txt", classnames=["dog"]).classnames == ("dog",)


def test_a_sample_without_a_class_is_named(shards):
    shard(shards / "a-002.tar", {"0009.png": b"", "0009.width": b"3"})
    with pytest.raises(SplitError, match="sample '0009' has no class"):
        load_own_data(shards)


def test_a_damaged_shard_is_named(shards):
    (shards / "a-003.tar").write_bytes(b"\x1f\x8b compressed")
    with pytest.raises(SplitError, match=r"a-003\.tar"):
        load_own_data(shards)


def test_a_shard_that_breaks_off_between_samples_is_noted(shards):
    assert not any("break off" in note for note in load_own_data(shards).notes)
    place = shards / "a-000.tar"
    content = bytearray(place.read_bytes())
    with tarfile.open(place) as tar:
        second = tar.getmember("0002.png").offset
    content[second : second + 16] = bytes(range(200, 216))  # tarfile takes a damaged header for the end of the file
    place.write_bytes(bytes(content))
    dataset = load_own_data(shards)
    assert sum(map(len, dataset.split)) == 2
    assert any("1 of 2 shards break off" in note and "a-000.tar" in note for note in dataset.notes)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 999), st.randoms())
def test_a_drawn_split_uses_every_image_once_in_any_order_of_the_list(sizes, seed, random):
    items = [Item(f"{label}/{i}", label, str(label)) for label, size in enumerate(sizes) for i in range(size)]
    split = auto_split(items, seed)
    assert sorted(i.path for part in split for i in part) == sorted(i.path for i in items)
    for label, size in enumerate(sizes):
        n_train, n_val, n_test = (sum(item.label == label for item in part) for part in split)
        assert n_train >= 1
        assert n_test >= min(1, size - 1)
        assert n_val >= min(1, max(0, size - 2))
    random.shuffle(items)
    assert auto_split(items, seed) == split


def test_the_layout_of_clip_benchmark_is_read_with_its_parts_and_names(tmp_path):
    for part, images in (("train", 24), ("test", 12)):
        (tmp_path / part).mkdir()
        for number in range(2):
            samples = {}
            for index in range(number, images, 2):
                image = io.BytesIO()
                Image.new("RGB", (8, 6), (index, number, 9)).save(image, format="WEBP", lossless=True)
                samples |= {f"s{index:04d}.webp": image.getvalue(), f"s{index:04d}.cls": str(index % 12).encode()}
            samples |= {"._s0.webp": b"x"}
            shard(tmp_path / part / f"{number}.tar", samples)
    (tmp_path / "classnames.txt").write_text("".join(f"name of {number}\n" for number in range(12)))
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na sketch of a {c}.\n")
    dataset = load_own_data(tmp_path)
    assert dataset.classnames == tuple(f"name of {number}" for number in range(12))
    assert [len(part) for part in dataset.split] == [24, 0, 12]
    assert "the 2 sentences of zeroshot_classification_templates.txt are not read" in dataset.notes[0]
    assert '--template "a photo of a {}."' in dataset.notes[0]
    item = next(item for item in dataset.split.test if item.path.endswith("s0007.webp"))
    assert (item.path, item.label) == ("test/1.tar/s0007.webp", 7)
    assert dataset.load(item).getpixel((0, 0)) == (7, 1, 9)


def test_a_list_of_images_in_a_txt_says_that_tables_end_otherwise(tmp_path):
    (tmp_path / "list.txt").write_text("img/1.png cat\n")
    with pytest.raises(SplitError, match=r"line 1 is 'img/1\.png cat'; a \.txt lists shards.*\.csv"):
        load_own_data(tmp_path / "list.txt")

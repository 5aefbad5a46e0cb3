"""Webdataset shards with captions: read in place, and as a stream."""

import builtins
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image
from torch.utils.data import DataLoader

from datasets_fewshot import SplitError
from datasets_fewshot.pairs import streaming
from datasets_fewshot.pairs.load import load_pairs
from datasets_fewshot.pairs.streaming import PairStream

PER_SHARD, SHARDS = 5, 4


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (number * 9 % 256, 0, 60)).save(file, "JPEG")
    return file.getvalue()


def write_shard(path: Path, members: Mapping[str, bytes], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def sample(number: int) -> dict[str, bytes]:
    return {f"{number:05d}.jpg": jpeg(number), f"{number:05d}.txt": f"number {number}\nthe {number}\n".encode()}


@pytest.fixture
def shards(tmp_path) -> Path:
    """Four shards with five samples each."""
    for shard in range(SHARDS):
        numbers = range(shard * PER_SHARD, (shard + 1) * PER_SHARD)
        write_shard(tmp_path / "s" / f"{shard}.tar", {k: v for n in numbers for k, v in sample(n).items()})
    return tmp_path / "s"


def keys(stream) -> list[str]:
    return [pair.key for pair in stream]


ALL = [f"{number:05d}" for number in range(PER_SHARD * SHARDS)]


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


# In place.


def test_shards_are_read_in_place(shards):
    pairs = load_pairs(shards)
    items = [*pairs.train, *pairs.val, *pairs.test]
    assert len(items) == len(ALL)
    first = min(items, key=lambda item: item.path)
    assert first.path == "0.tar/00000.jpg"
    assert first.captions == ("number 0", "the 0")
    assert pairs.load(first).size == (8, 6)


def test_captions_groups_and_parts_of_shards(tmp_path):
    for part in ("train", "test"):
        facts = json.dumps({"captions": [f"{part} one", "two"], "group": f"{part} 7"}).encode()
        write_shard(tmp_path / part / "0.tar", {"0.png": jpeg(1), "0.json": facts})
    pairs = load_pairs(tmp_path)
    assert [(item.path, item.captions, item.group) for item in pairs.train] == [
        ("train/0.tar/0.png", ("train one", "two"), "train 7")
    ]
    assert len(pairs.test) == 1


def test_a_shard_that_breaks_off_between_members_is_a_counted_note(shards):
    cut(shards / "1.tar", (shards / "1.tar").read_bytes().index(b"00007.jpg"))
    pairs = load_pairs(shards)
    assert sum(map(len, (pairs.train, pairs.val, pairs.test))) == len(ALL) - 3
    assert "1 of 4 shards break off, and what may follow is missing: 1.tar" in pairs.notes


def test_a_broken_shard_is_a_counted_note(shards):
    cut(shards / "1.tar", 700)
    pairs = load_pairs(shards)
    assert sum(map(len, (pairs.train, pairs.val, pairs.test))) == len(ALL) - PER_SHARD
    assert any("1 of 4 shards cannot be read and were left out: 1.tar" in note for note in pairs.notes)


def test_only_broken_shards_are_an_error(tmp_path):
    write_shard(tmp_path / "0.tar", sample(0), "w:gz")
    with pytest.raises(SplitError, match="none of its 1 shards can be read"):
        load_pairs(tmp_path)


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"../0.jpg": jpeg(0), "../0.txt": b"a"}, "climbs out"),
        ({"0.txt": b"a"}, "hold no images"),
        ({"0.jpg": jpeg(0), "0.json": b"[1]"}, "expected a JSON object"),
        ({"0.jpg": jpeg(0), "0.json": b'{"caption": 3}'}, "expected a text, or a list of texts"),
        ({"0.jpg": jpeg(0), "0.json": b'{"caption": "a", "group": []}'}, "expected text"),
        ({"0.jpg": jpeg(0), "0.txt": b"caf\xe9"}, "is not text in UTF-8"),
        ({"0.jpg": jpeg(0)}, "none of its 1 images has a caption"),
    ],
)
def test_bad_samples_are_one_clear_error(tmp_path, members, error):
    write_shard(tmp_path / "0.tar", members)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared below
        load_pairs(tmp_path / "0.tar")
    assert error in str(caught.value)


# As a stream.


@pytest.fixture
def webdataset():
    return pytest.importorskip("webdataset")


def test_a_stream_gives_every_pair_once(shards, webdataset):
    pairs = list(PairStream(shards))
    assert sorted(pair.key for pair in pairs) == ALL
    assert [pair.count for pair in pairs] == list(range(1, len(ALL) + 1))
    first = next(pair for pair in pairs if pair.key == "00003")
    assert first.captions == ("number 3", "the 3")
    assert first.image.size == (8, 6)
    assert first.shard == str(shards / "0.tar")


def test_a_stream_that_is_not_shuffled_keeps_the_order(shards, webdataset):
    assert keys(PairStream(shards, shuffled=0)) == ALL


def test_the_seed_and_the_epoch_fix_the_order(shards, webdataset):
    once = keys(PairStream(shards, seed=3))
    assert keys(PairStream(shards, seed=3)) == once
    assert keys(PairStream(shards, seed=4)) != once
    assert keys(PairStream(shards, seed=3, epoch=1)) != once


@pytest.mark.parametrize("shuffled", [0, 7, 1000])
@pytest.mark.parametrize("count", [0, 1, 11, 20, 25])
def test_a_stream_goes_on_from_a_count(shards, webdataset, shuffled, count):
    whole = keys(PairStream(shards, shuffled=shuffled))
    rest = list(PairStream(shards, shuffled=shuffled, skip=count))
    assert [pair.key for pair in rest] == whole[count:]
    assert [pair.count for pair in rest] == list(range(count + 1, len(whole) + 1))


def test_nodes_share_the_shards(shards, webdataset, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = []
    for node in ("0", "1"):
        monkeypatch.setenv("RANK", node)
        pairs = list(PairStream(shards, seed=5))
        assert {pair.consumer for pair in pairs} == {int(node)}
        found.append([pair.key for pair in pairs])
    assert sorted(found[0] + found[1]) == ALL
    assert len(found[0]) == len(found[1])


def as_they_are(pair):
    return pair


def loaded(stream: PairStream, workers: int) -> list:
    return list(DataLoader(stream, batch_size=None, num_workers=workers, collate_fn=as_they_are))


def test_workers_share_the_shards_and_each_goes_on_from_its_count(shards, webdataset):
    whole = loaded(PairStream(shards), 2)
    assert sorted(pair.key for pair in whole) == ALL
    taken, counts = whole[:7], {}
    for pair in taken:
        counts[pair.consumer] = pair.count
    rest = loaded(PairStream(shards, skip=counts), 2)
    assert sorted(pair.key for pair in (*taken, *rest)) == ALL


def test_more_consumers_than_shards_are_an_error(shards, webdataset, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ValueError, match="4 shards cannot be shared among 5 consumers"):
        list(PairStream(shards))


def test_one_count_does_not_do_for_several_consumers(shards, webdataset, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="consumer -> count"):
        list(PairStream(shards, skip=3))


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 3000, 5200])
def test_a_broken_shard_in_the_middle_loses_nothing_else(shards, webdataset, kept):
    """Samples before the break come through, and none takes a member from the next shard."""
    sizes = len((shards / "1.tar").read_bytes())
    assert kept < sizes
    cut(shards / "1.tar", kept)
    stream = PairStream(shards, shuffled=0)
    found = list(stream)
    expected = [key for key in ALL if not "00005" <= key <= "00009"]
    assert [pair.key for pair in found if pair.shard != str(shards / "1.tar")] == expected
    assert all(pair.captions[0] == f"number {int(pair.key)}" for pair in found)
    (note,) = [note for note in stream.notes if "shards broke off" in note]
    assert note.startswith("1 shards broke off or cannot be read: 1.tar")


@pytest.mark.parametrize("header", [b"00007.jpg", b"00007.txt"])
def test_a_damaged_header_is_no_end(shards, webdataset, header):
    content = (shards / "1.tar").read_bytes()
    place = content.index(header)
    (shards / "1.tar").write_bytes(content[:place] + b"\xff" * 512 + content[place + 512 :])
    stream = PairStream(shards, shuffled=0)
    assert [key for key in keys(stream) if "00005" <= key <= "00009"] == ["00005", "00006"]
    assert any("1.tar" in note for note in stream.notes)
    assert any("1.tar" in note for note in load_pairs(shards).notes)


def test_samples_before_a_break_come_through(shards, webdataset):
    content = (shards / "1.tar").read_bytes()
    cut(shards / "1.tar", content.index(b"00007.jpg") + 600)
    stream = PairStream(shards, shuffled=0)
    assert [key for key in keys(stream) if "00005" <= key <= "00009"] == ["00005", "00006"]


@pytest.mark.parametrize(
    ("members", "note"),
    [
        ({"a.txt": b"x"}, "1 samples have no image"),
        ({"a.jpg": jpeg(0)}, "1 samples have no caption"),
        ({"a.jpg": jpeg(0), "a.txt": b" \n"}, "1 samples have no caption"),
        ({"a.jpg": jpeg(0), "a.txt": b"\xe9"}, "1 samples have captions that cannot be read"),
        ({"a.jpg": jpeg(0), "a.json": b"{"}, "1 samples have captions that cannot be read"),
        ({"a.jpg": jpeg(0)[:99], "a.txt": b"x"}, "1 samples have an image that cannot be read"),
    ],
)
def test_what_a_stream_leaves_out_is_counted(tmp_path, webdataset, members, note):
    write_shard(tmp_path / "0.tar", {**members, **sample(1)})
    stream = PairStream(tmp_path)
    assert keys(stream) == ["00001"]
    assert stream.notes == (f"{note} and were left out",)


@pytest.mark.filterwarnings("error")
def test_a_worker_warns_of_what_it_left_out(shards, webdataset):
    cut(shards / "1.tar", 700)
    with pytest.raises(UserWarning, match=r"worker 0: 1 shards broke off or cannot be read: 1\.tar"):
        loaded(PairStream(shards), 1)


def test_shards_that_give_nothing_are_an_error(shards, webdataset):
    for place in shards.iterdir():
        cut(place, 0)
    with pytest.raises(SplitError, match="none of the 4 shards gives a pair"):
        list(PairStream(shards))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_shards_are_left_out_with_a_note(tmp_path, webdataset, mode):
    write_shard(tmp_path / "0.tar", sample(0), mode)
    write_shard(tmp_path / "1.tar", sample(1))
    stream = PairStream(tmp_path)
    assert keys(stream) == ["00001"]
    assert "compressed" in stream.notes[0]


def test_a_huge_member_is_not_read(tmp_path, webdataset, monkeypatch):
    monkeypatch.setattr(streaming, "MAX_IMAGE_BYTES", 200_000)
    write_shard(tmp_path / "0.tar", {**sample(0), "9.jpg": bytes(300_000), "9.txt": b"x"})
    stream = PairStream(tmp_path)
    assert keys(stream) == ["00000"]
    assert "at most 200000 are read" in stream.notes[0]


def test_a_pipe_among_the_shards_does_not_stop_the_stream(shards, webdataset):
    os.mkfifo(shards / "9.tar")
    stream = PairStream(shards)
    assert sorted(keys(stream)) == ALL
    assert "9.tar" in stream.notes[0]


def test_a_list_of_shards_starts_no_command(tmp_path, webdataset):
    (tmp_path / "list.txt").write_text(f"pipe:touch {tmp_path}/started #.tar\n")
    with pytest.raises(SplitError, match="none of the 1 shards gives a pair"):
        list(PairStream(tmp_path / "list.txt"))
    assert not (tmp_path / "started").exists()


def test_a_stream_takes_the_shards_of_a_part(tmp_path, webdataset):
    write_shard(tmp_path / "train" / "0.tar", sample(0))
    write_shard(tmp_path / "test" / "0.tar", sample(1))
    assert keys(PairStream(tmp_path, part="train")) == ["00000"]
    with pytest.raises(SplitError, match="no shards in a folder 'val'"):
        PairStream(tmp_path, part="val")


@pytest.mark.parametrize("options", [{"seed": -1}, {"skip": -1}, {"skip": {0: -1}}, {"shuffled": -1}])
def test_numbers_below_zero_are_refused(shards, webdataset, options):
    with pytest.raises(ValueError, match="have to be 0 or more"):
        PairStream(shards, **options)


def test_paths_without_shards_are_refused(tmp_path, webdataset):
    with pytest.raises(FileNotFoundError, match="there is nothing at"):
        PairStream(tmp_path / "nothing")
    with pytest.raises(SplitError, match=r"holds no \.tar files"):
        PairStream(tmp_path)


def test_without_webdataset_one_error_says_what_to_install(shards, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name.startswith("webdataset"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'adaptkit-clip\[pairs\]'"):
        PairStream(shards)

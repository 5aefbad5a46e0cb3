"""Indexes of captions: built, opened, searched, and refused."""

import gzip
import json
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adaptkit.regular_file import FileError
from adaptkit.texts.cased.index import fitting, in_memory
from adaptkit.texts.cased.index_files import build_index, open_index, read_captions
from adaptkit.vectors.faiss_search import FaissSearch
from tests.helpers.models import build

CAPTIONS = [
    f"a {colour} {thing}"
    for colour in ("red", "green", "blue", "old")
    for thing in ("car", "dog", "cup", "tree", "hat")
]


@pytest.fixture
def folder(tiny_clip, tmp_path):
    build_index(CAPTIONS, tiny_clip, tmp_path / "index", shard_rows=7)
    return tmp_path / "index"


def queries(tiny_clip, count=3):
    return torch.randn(count, tiny_clip.embed_dim, generator=torch.Generator().manual_seed(0))


def test_a_search_finds_what_a_plain_product_does(tiny_clip, folder, monkeypatch):
    index = open_index(folder)
    assert list(index.captions) == CAPTIONS
    assert index.captions[-1] == CAPTIONS[-1]
    assert index.captions[2:4] == CAPTIONS[2:4]
    assert [len(shard) for shard in index.vectors.shards] == [7, 7, 6]
    assert all(isinstance(shard, np.memmap) for shard in index.vectors.shards)
    rows = F.normalize(tiny_clip.encode_text(CAPTIONS).half().float(), dim=-1)
    wanted = (F.normalize(queries(tiny_clip), dim=-1) @ index.rows(range(20)).T).sort(descending=True, stable=True)
    torch.testing.assert_close(index.rows(range(20)), rows, atol=2e-3, rtol=0)
    for rows_at_once in (3, 2**16):
        monkeypatch.setattr("adaptkit.vectors.rows.ROWS_AT_ONCE", rows_at_once)
        found = index.search(queries(tiny_clip), 10)
        assert torch.equal(found.places, wanted.indices[:, :10])
        torch.testing.assert_close(found.scores, wanted.values[:, :10])
    assert index.search(queries(tiny_clip), 50).places.shape == (3, 20)


def test_captions_that_are_as_near_keep_their_order(tiny_clip):
    index = in_memory(["a dog"] * 5 + ["a cup"] * 5, tiny_clip)
    query = tiny_clip.encode_text(["a dog"])
    assert index.search(query, 3).places.tolist() == [[0, 1, 2]]


def test_another_text_tower_is_refused(tiny_clip, folder):
    index = open_index(folder)
    index.check_backbone(tiny_clip)
    other = build("clip_vit")
    other.model.logit_scale.data.add_(1)
    with pytest.raises(ValueError, match="'index' was made with other weights"):
        index.check_backbone(other)
    with pytest.raises(ValueError, match=r"expected \(B, \d+\)"):
        index.search(torch.randn(1, 3), 1)


@pytest.mark.parametrize("name", ["captions.txt", "embeddings_00001.npy", "caption_ends.npy"])
def test_an_altered_file_is_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(FileError, match=f"{name} of the index of captions .* was altered or damaged"):
        open_index(folder)


def test_a_missing_file_is_named(folder):
    (folder / "embeddings_00002.npy").unlink()
    with pytest.raises(FileNotFoundError, match="embeddings_00002"):
        open_index(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "is none"),
        ({"format_version": 9}, "version 9"),
        ({"count": "many"}, "is damaged"),
        ({"sha256": "0"}, "is damaged"),
        ({"files": {"../captions.txt": "0"}}, "is damaged"),
    ],
)
def test_a_wrong_description_is_refused(folder, change, said):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, **change}))
    with pytest.raises(FileError, match=said):
        open_index(folder)


def test_an_array_of_another_kind_is_refused_without_checksums(folder):
    np.save(folder / "embeddings_00000.npy", np.zeros((7, 5), np.float32))
    with pytest.raises(FileError, match="holds float32 of shape"):
        open_index(folder, verify=False)
    np.save(folder / "embeddings_00000.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FileError, match="holds object"):
        open_index(folder, verify=False)
    (folder / "embeddings_00000.npy").write_bytes(b"no array")
    with pytest.raises(FileError, match=r"is no \.npy file"):
        open_index(folder, verify=False)


def test_nothing_half_written_stays(tiny_clip, tmp_path):
    def broken():
        yield "a dog"
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        build_index(broken(), tiny_clip, tmp_path / "index")
    with pytest.raises(ValueError, match="nothing to put into the index of captions"):
        build_index(["", "  "], tiny_clip, tmp_path / "index")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "index").mkdir()
    with pytest.raises(FileExistsError, match="is there already"):
        build_index(CAPTIONS, tiny_clip, tmp_path / "index")
    with pytest.raises(ValueError, match="expected a text with one"):
        build_index(CAPTIONS, tiny_clip, tmp_path / "other", template="a photo")


def test_a_long_caption_loses_words_at_its_end(tiny_clip):
    long = "dog " * 200
    cut = fitting(tiny_clip, long.strip())
    assert set(cut.split()) == {"dog"}
    assert 1 < len(cut.split()) < 200
    tiny_clip.tokenize([cut])
    with pytest.raises(ValueError, match="positions"):
        tiny_clip.tokenize([f"{cut} dog"])


def test_captions_are_read_from_text_packed_or_not(tmp_path):
    (tmp_path / "a.txt").write_text("one  caption\n\n two\n", encoding="utf-8")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one caption\ntwo"))
    assert (
        list(read_captions(tmp_path / "a.txt")) == list(read_captions(tmp_path / "a.txt.gz")) == ["one caption", "two"]
    )
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9")
    with pytest.raises(FileError, match="not text in UTF-8"):
        list(read_captions(tmp_path / "bad.txt"))
    (tmp_path / "bad.gz").write_bytes(b"no gzip")
    with pytest.raises(FileError, match="is damaged"):
        list(read_captions(tmp_path / "bad.gz"))
    with pytest.raises(FileNotFoundError, match="no file of captions"):
        list(read_captions(tmp_path / "none.txt"))


def test_captions_are_read_from_a_column_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"caption": ["one", None, "two"]}), path)
    assert list(read_captions(path)) == ["one", "two"]
    parquet.write_table(pyarrow.table({"text": ["one"]}), path)
    with pytest.raises(FileError, match="has the columns text"):
        list(read_captions(path))
    path.write_bytes(b"no parquet")
    with pytest.raises(FileError, match="no readable Parquet"):
        list(read_captions(path))


def test_faiss_that_looks_at_every_list_finds_the_same(tiny_clip):
    pytest.importorskip("faiss")
    index = in_memory([f"a dog with {n} hats" for n in range(200)], tiny_clip)
    ours, theirs = (
        index.search(queries(tiny_clip), 5),
        FaissSearch(index.vectors, probes=100).search(queries(tiny_clip), 5),
    )
    torch.testing.assert_close(theirs.scores, ours.scores, atol=2e-3, rtol=0)
    small = in_memory(CAPTIONS, tiny_clip)
    assert FaissSearch(small.vectors, probes=1).search(queries(tiny_clip), 50).places.shape == (3, 20)


def test_missing_faiss_is_one_clear_error(tiny_clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="pip install faiss-cpu"):
        FaissSearch(in_memory(CAPTIONS, tiny_clip).vectors, probes=1)

import errno
import json
import os
import time
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from datasets_fewshot.store import feature_store
from datasets_fewshot.store.claims import Claim
from datasets_fewshot.store.feature_store import (
    TORCH_DTYPES,
    DamagedEntryError,
    FeatureKey,
    FeatureStore,
    read_entry,
    verify_entry,
)

KEY = FeatureKey("weights", "resize 48", "items", "float32")
ROWS = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))


class Encoder:
    """Yields rows in batches of three and counts how often it was asked."""

    def __init__(self, rows: Tensor = ROWS):
        self.rows = rows
        self.calls = 0

    def __call__(self):
        self.calls += 1
        yield from self.rows.split(3)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(feature_store, "SHARD_BYTES", 3 * 4 * 4)  # three rows of four floats


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_rows_come_back_in_the_stored_type(tmp_path, dtype):
    table = FeatureStore(tmp_path).features(replace(KEY, dtype=dtype), 10, Encoder())
    assert torch.equal(table, ROWS.to(TORCH_DTYPES[dtype]))


def test_a_stored_table_is_not_encoded_again(tmp_path):
    encoder = Encoder()
    FeatureStore(tmp_path).features(KEY, 10, encoder)
    again = FeatureStore(tmp_path).features(KEY, 10, encoder)
    assert encoder.calls == 1
    assert torch.equal(again, ROWS)


@pytest.mark.parametrize("field", ["weights_hash", "transform", "items_hash"])
def test_another_key_is_another_table(tmp_path, field):
    store, encoder = FeatureStore(tmp_path), Encoder()
    store.features(KEY, 10, encoder)
    store.features(replace(KEY, **{field: "other"}), 10, encoder)
    assert encoder.calls == 2


def test_writing_into_the_tensor_leaves_the_store_alone(tmp_path):
    store = FeatureStore(tmp_path)
    store.features(KEY, 10, Encoder()).zero_()
    assert torch.equal(store.features(KEY, 10, Encoder()), ROWS)


@pytest.mark.usefixtures("small_shards")
def test_a_changed_byte_is_found_in_its_shard_and_rebuilt(tmp_path):
    FeatureStore(tmp_path).features(KEY, 10, Encoder())
    file = tmp_path / KEY.digest() / "features.bin"
    content = bytearray(file.read_bytes())
    content[5 * 16] ^= 1  # row 5, in the second shard
    file.write_bytes(content)
    with pytest.raises(DamagedEntryError, match=r"shards \[1\] of 4"):
        verify_entry(read_entry(file.parent))
    encoder = Encoder()
    assert torch.equal(FeatureStore(tmp_path).features(KEY, 10, encoder), ROWS)
    assert encoder.calls == 1
    verify_entry(read_entry(file.parent))


def damage_length(folder):
    file = folder / "features.bin"
    file.write_bytes(file.read_bytes()[:-1])


def damage_header(folder):
    (folder / "entry.json").write_text("{")


def remove_rows(folder):
    (folder / "features.bin").unlink()


def change_format(folder):
    file = folder / "entry.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))


def change_key(folder):
    file = folder / "entry.json"
    content = json.loads(file.read_text())
    content["key"]["weights_hash"] = "foreign"
    file.write_text(json.dumps(content))


def drop_checksums(folder):
    file = folder / "entry.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"checksums": []}))


@pytest.mark.parametrize(
    "damage", [damage_length, damage_header, remove_rows, change_format, change_key, drop_checksums]
)
def test_a_damaged_or_foreign_entry_is_rebuilt(tmp_path, damage):
    FeatureStore(tmp_path).features(KEY, 10, Encoder())
    damage(tmp_path / KEY.digest())
    encoder = Encoder()
    assert torch.equal(FeatureStore(tmp_path).features(KEY, 10, encoder), ROWS)
    assert encoder.calls == 1


def test_an_encoder_that_fails_leaves_nothing_behind(tmp_path):
    def encode():
        yield ROWS[:3]
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        FeatureStore(tmp_path).features(KEY, 10, encode)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_number_of_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="gave 10 rows; 11 items"):
        FeatureStore(tmp_path).features(KEY, 11, Encoder())


def test_batches_of_unequal_width_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(2, 5\); expected \(b, 4\)"):
        FeatureStore(tmp_path).features(KEY, 12, lambda: iter([ROWS, torch.zeros(2, 5)]))


def test_no_items_give_an_empty_table(tmp_path):
    assert FeatureStore(tmp_path).features(KEY, 0, lambda: iter([torch.zeros(0, 4)])).shape == (0, 4)


def test_a_second_writer_of_the_same_entry_does_no_harm(tmp_path):
    def encode():
        FeatureStore(tmp_path)._write(KEY, 10, Encoder())  # another process took the claim over, and is faster
        yield from ROWS.split(3)

    assert torch.equal(FeatureStore(tmp_path).features(KEY, 10, encode), ROWS)
    assert len(list(tmp_path.iterdir())) == 1


def test_of_two_processes_that_need_a_table_one_encodes_and_the_other_waits(tmp_path):
    child = os.fork()
    if child == 0:

        def slowly():
            (tmp_path / "begun").touch()
            time.sleep(1)
            yield from ROWS.split(3)

        FeatureStore(tmp_path / "store").features(KEY, 10, slowly)
        os._exit(0)
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    encoder = Encoder(ROWS + 1)
    assert torch.equal(FeatureStore(tmp_path / "store").features(KEY, 10, encoder), ROWS)
    assert encoder.calls == 0
    os.waitpid(child, 0)


def test_a_store_that_cannot_be_used_is_done_without(tmp_path):
    (tmp_path / "store").write_text("a file where the folder should be")
    encoder = Encoder()
    with pytest.warns(UserWarning, match="encoded images are not kept"):
        table = FeatureStore(tmp_path / "store").features(KEY, 10, encoder)
    assert torch.equal(table, ROWS)
    assert encoder.calls == 1


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(feature_store.os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left"):
        table = FeatureStore(tmp_path).features(KEY, 10, Encoder())
    assert torch.equal(table, ROWS)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_of_an_entry_is_removed_with_the_next_encoding(tmp_path):
    other = replace(KEY, transform="another").digest()
    for name in (f".new-{KEY.digest()}-0a1b2c3d", f".old-{KEY.digest()}-0a1b2c3d", f".new-{other}-0a1b2c3d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "features.bin").write_bytes(b"half")
    FeatureStore(tmp_path).features(KEY, 10, Encoder())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([KEY.digest(), f".new-{other}-0a1b2c3d"])


def test_the_claim_of_a_process_that_was_killed_behind_its_entry_is_removed(tmp_path):
    FeatureStore(tmp_path).features(KEY, 10, Encoder())
    child = os.fork()
    if not child:
        Claim(tmp_path / f".{KEY.digest()}.claim").take()
        os._exit(0)
    os.waitpid(child, 0)
    encoder = Encoder()
    FeatureStore(tmp_path).features(KEY, 10, encoder)
    assert encoder.calls == 0
    assert [path.name for path in tmp_path.iterdir()] == [KEY.digest()]


def test_errors_of_the_images_themselves_are_not_hidden(tmp_path):
    def encode():
        raise FileNotFoundError("cat.jpg")
        yield

    with pytest.warns(UserWarning, match="not kept"), pytest.raises(FileNotFoundError, match="cat"):
        FeatureStore(tmp_path).features(KEY, 10, encode)


def test_entries_lists_good_and_damaged_ones_and_remove_deletes(tmp_path):
    store = FeatureStore(tmp_path)
    store.features(KEY, 10, Encoder())
    (tmp_path / "junk").mkdir()
    good, bad = store.entries()
    assert (good.count, good.dim, good.key) == (10, 4, KEY)
    assert isinstance(bad, DamagedEntryError) or isinstance(good, DamagedEntryError)
    store.remove(KEY.digest())
    assert len(store.entries()) == 1
    with pytest.raises(FileNotFoundError, match="no entry"):
        store.remove("../junk")


def test_an_entry_that_was_removed_meanwhile_is_encoded_again(tmp_path):
    store, encoder = FeatureStore(tmp_path), Encoder()
    store.features(KEY, 10, encoder)
    FeatureStore(tmp_path).remove(KEY.digest())
    assert torch.equal(store.features(KEY, 10, encoder), ROWS)
    assert encoder.calls == 2

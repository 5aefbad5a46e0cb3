"""Rows are searched as a plain product finds them, in blocks, and without keeping a file in memory."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adaptkit.vectors import rows as module
from adaptkit.vectors.faiss_search import FaissSearch
from adaptkit.vectors.rows import UnitRows, unit


def drawn(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, dim))).numpy().astype(np.float16)


def queries(count: int, dim: int = 16) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rows_at_once", [1, 7, 30, 2**16])
def test_a_search_finds_what_a_plain_product_does(monkeypatch, rows_at_once):
    half = drawn(100)
    rows = UnitRows([half[:30], half[30:31], half[31:]])
    monkeypatch.setattr(module, "ROWS_AT_ONCE", rows_at_once)
    plain = (
        F.normalize(queries(5), dim=-1).numpy()
        @ (half.astype(np.float32) / np.linalg.norm(half.astype(np.float32), axis=1, keepdims=True)).T
    )
    for _ in range(2):  # the second time with the lengths of the first
        found = rows.search(queries(5), 10)
        assert np.array_equal(found.places.numpy(), np.argsort(-plain, axis=1, kind="stable")[:, :10])
        np.testing.assert_allclose(found.scores.numpy(), -np.sort(-plain, axis=1)[:, :10], rtol=1e-5, atol=1e-6)


def test_lengths_that_half_precision_moved_do_not_change_the_order():
    direction = drawn(1)[0]
    rows = UnitRows([np.stack([direction, (1.5 * direction).astype(np.float16)])])
    scores = rows.search(torch.from_numpy(direction.astype(np.float32))[None], 2).scores
    torch.testing.assert_close(scores, torch.ones(1, 2), atol=1e-3, rtol=0)


def test_a_row_of_zeros_is_near_nothing():
    rows = UnitRows([np.zeros((3, 16), np.float16)])
    assert rows.search(queries(1), 3).scores.tolist() == [[0, 0, 0]]


def test_queries_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 3\); expected \(B, 16\)"):
        UnitRows([drawn(4)]).search(torch.randn(1, 3), 1)


MEASURED = """
import sys, numpy as np, torch
from adaptkit.vectors.rows import UnitRows
def of_files():
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("RssFile"))
UnitRows([np.ones((100, 64), np.float16)]).search(torch.randn(1, 64), 5)  # loads what a search runs
shards = [np.load(path, mmap_mode="r") for path in sys.argv[1:]]
before = of_files()
UnitRows(shards).search(torch.randn(1, 64), 5)
print(of_files() - before, sum(shard.nbytes for shard in shards))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_file_that_was_searched_does_not_stay_in_memory(tmp_path):
    paths = [tmp_path / f"{number}.npy" for number in range(2)]
    for path in paths:
        np.save(path, np.ones((200_000, 64), np.float16))
    words = [sys.executable, "-c", MEASURED, *map(str, paths)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    grown, size = map(int, said.split())
    assert grown < size / 4


def test_faiss_that_looks_at_every_list_finds_the_same():
    pytest.importorskip("faiss")
    rows = UnitRows([drawn(900), drawn(100, seed=2)])
    ours, theirs = rows.search(queries(3), 5), FaissSearch(rows, probes=100).search(queries(3), 5)
    assert torch.equal(theirs.places, ours.places)
    torch.testing.assert_close(theirs.scores, ours.scores, atol=2e-3, rtol=0)

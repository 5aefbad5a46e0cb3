"""Search 1,000,000 random rows of width 512 in half precision: adaptkit, numpy and faiss on the same files.

    python -m benchmarks.retrieval [--rows 100000 1000000]

Each of them runs in a process of its own, which opens the files, searches with one query and with 64, and says how
much memory it had at the most. faiss needs to be installed: pip install faiss-cpu. Random rows have no neighbourhoods,
so the inverted file of faiss, which looks at neighbourhoods, finds as few of them as it ever will.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from adaptkit.vectors.faiss_search import FaissSearch
from adaptkit.vectors.folder import SHARD_ROWS, new_folder, write_meta, write_rows
from adaptkit.vectors.rows import UnitRows
from benchmarks.timing import hardware
from trainers.retrieval.gallery import LAYOUT, open_gallery
from trainers.retrieval.towers import MadeBy

RESULT = Path(__file__).parent / "results" / "retrieval.json"
DIM, TOP, QUERIES, REPEATS, PROBES = 512, 10, 64, 5, 16
LIMIT_MB = 2000  # that a search of 1,000,000 rows may have in memory
Search = Callable[[np.ndarray], np.ndarray]  # queries (B, D) -> places (B, TOP)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--one", nargs=2, metavar=("NAME", "INDEX"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measured(args.one[0], Path(args.one[1]))))
        return
    rows = [row for count in args.rows for row in compared(count)]
    facts = {"dim": DIM, "top": TOP, "queries": QUERIES, "probes": PROBES, "limit_mb": LIMIT_MB}
    result = {**facts, "hardware": hardware(), "searches": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def compared(count: int) -> Iterator[dict[str, object]]:
    """A row for every way to search so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        write_index(index, count)
        exact: np.ndarray | None = None
        for name in WAYS:
            words = [sys.executable, "-m", "benchmarks.retrieval", "--one", name, str(index)]
            row = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            places = np.array(row.pop("places"))
            exact = places if exact is None else exact
            found = [len(set(ours) & set(theirs)) for ours, theirs in zip(exact.tolist(), places.tolist(), strict=True)]
            yield {"way": name, "rows": count, **row, "found_percent": 100 * sum(found) / exact.size}


def write_index(index: Path, count: int) -> None:
    """An index as `adaptkit retrieve build` writes it, of random unit rows."""
    made_by = MadeBy("random", None, "0" * 64, "float32", "", "")

    def shards() -> Iterator[tuple[list[str], np.ndarray]]:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, count, SHARD_ROWS):
            places = range(start, min(start + SHARD_ROWS, count))
            rows = torch.randn(len(places), DIM, generator=generator)
            yield [str(place) for place in places], (rows / rows.norm(dim=1, keepdim=True)).half().numpy()

    with new_folder(index, LAYOUT) as temporary:
        written = write_rows(temporary, LAYOUT, shards())
        write_meta(temporary, LAYOUT, {"kind": "texts", "root": "", **vars(made_by)}, written)


def measured(name: str, index: Path) -> dict[str, object]:
    """Seconds and memory of one way to search an index, in this process."""
    queries = np.random.default_rng(1).normal(size=(QUERIES, DIM)).astype(np.float32)
    before = memory_mb("VmRSS")
    start = time.perf_counter()
    search = WAYS[name](open_gallery(index, verify=False).rows)
    opened = time.perf_counter() - start
    first, _ = timed(search, queries[:1])
    one = [timed(search, queries[:1])[0] for _ in range(REPEATS)]
    many, places = timed(search, queries)
    return {
        "open_seconds": round(opened, 3),
        "first_query_seconds": round(first, 4),
        "query_seconds": round(statistics.median(one), 4),
        "queries_seconds": round(many, 3),
        "resident_mb_at_the_beginning": round(before),
        "resident_mb_at_the_most": round(memory_mb("VmHWM")),
        "places": places.tolist(),
    }


def timed(search: Search, queries: np.ndarray) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    places = search(queries)
    return time.perf_counter() - start, places


def memory_mb(line: str) -> float:
    """A line of this process's status; getrusage would say its parent's maximum, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(each.split()[1]) / 1024 for each in lines if each.startswith(line))


def adaptkit_exact(rows: UnitRows) -> Search:
    return lambda queries: rows.search(torch.from_numpy(queries), TOP).places.numpy()


def adaptkit_faiss(rows: UnitRows) -> Search:
    inverted = FaissSearch(rows, PROBES)
    return lambda queries: inverted.search(torch.from_numpy(queries), TOP).places.numpy()


def numpy_in_memory(rows: UnitRows) -> Search:
    """Everything in single precision in memory, one product, and a partial sort."""
    known = in_single_precision(rows)

    def search(queries: np.ndarray) -> np.ndarray:
        scores = queries @ known.T
        best = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    return search


def faiss_flat(rows: UnitRows) -> Search:
    import faiss

    flat = faiss.IndexFlatIP(rows.dim)
    for shard in rows.shards:
        for start in range(0, len(shard), 2**16):
            part = np.array(shard[start : start + 2**16], dtype=np.float32)
            flat.add(part / np.linalg.norm(part, axis=1, keepdims=True))
    return lambda queries: flat.search(queries, TOP)[1]


def in_single_precision(rows: UnitRows) -> np.ndarray:
    known = np.empty((len(rows), rows.dim), np.float32)
    start = 0
    for shard in rows.shards:
        known[start : start + len(shard)] = shard
        start += len(shard)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    return known


WAYS: dict[str, Callable[[UnitRows], Search]] = {
    "adaptkit, exact": adaptkit_exact,
    "numpy, in memory": numpy_in_memory,
    "faiss, IndexFlatIP": faiss_flat,
    "adaptkit, --faiss": adaptkit_faiss,
}


if __name__ == "__main__":
    main()

"""Encoded data sets on disk: memory-mapped, checksummed, keyed by content.

An entry is a folder named by the hash of its key. It holds `features.bin`, the rows (N, D) as they lie in memory, and
`entry.json`: the key, the shape and one SHA-256 per shard, where a shard is a run of rows. All shards are in one file,
so that the whole table maps as one tensor, while damage is found and named shard by shard.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from adaptkit.regular_file import FileError, read_json, user_path
from datasets_fewshot.store.claims import Claim
from datasets_fewshot.store.removal import Removal, plan_removal

FeatureDtype = Literal["float32", "float16", "bfloat16"]
TORCH_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

FORMAT = 1
ENTRY_NAME = r"[0-9a-f]{32}"
ABANDONED_NAME = r"\.(new|old)-[0-9a-f]{32}-[0-9a-f]{8}"
ENTRY_FILES = (r"entry\.json", r"features\.bin")  # in the order of their removal
ENTRY_MARK = rb'\s*\{\s*"format":'  # the beginning of every entry.json
SHARD_BYTES = 16 * 2**20
# Errors of a process that slept so long that another took over, removed its half-written entry and finished its own.
TAKEN_OVER = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY)
MAX_ENTRY_BYTES = 2**26
ABANDONED_SECONDS = 24 * 3600  # a half-written entry older than this belongs to a process that died


class DamagedEntryError(ValueError):
    """An entry does not hold the data that its key promises; the message says where."""


@dataclass(frozen=True)
class FeatureKey:
    """Everything that can change a table of features."""

    weights_hash: str  # hash of the encoder's weights
    transform: str  # description of the processing of an image before it is encoded
    items_hash: str  # `files_hash` of the files in row order, which notices replaced files
    dtype: FeatureDtype  # dtype of the stored rows

    def digest(self) -> str:
        """The entry's folder name: 32 hex digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Entry:
    """The content of `entry.json`, which describes one stored table."""

    folder: Path
    key: FeatureKey
    count: int  # N rows
    dim: int  # D columns
    shard_rows: int  # rows per shard; the last shard may have fewer
    checksums: tuple[str, ...]  # SHA-256 in hex, one per shard

    @property
    def size(self) -> int:
        """Bytes of `features.bin`."""
        return self.count * self.dim * TORCH_DTYPES[self.key.dtype].itemsize


class FeatureStore:
    """A folder of entries, which several processes may share."""

    def __init__(self, folder: str | Path):
        self.folder = user_path(folder, "feature store")
        self._verified: set[str] = set()

    def features(self, key: FeatureKey, count: int, encode: Callable[[], Iterator[Tensor]]) -> Tensor:
        """The table (N, D) of the key, mapped from disk; it is encoded first if it is missing, foreign or damaged.

        The tensor is private: writing into it changes neither the file nor the tables of others. If several processes
        need the table, one encodes it and the others wait. If the folder can be neither read nor written, a warning
        says so and the table stays in memory.

        Args:
            count: N, how many rows the items give.
            encode: yields the rows in order, in batches (b, D) of any size, on any device.

        Raises:
            ValueError: if `encode` yields another number of rows, or batches of unequal width.
        """
        mark = self.folder / f".{key.digest()}.claim"
        try:
            if self.has(key, count):
                _remove_left(mark)
            else:
                with Claim(mark):
                    if not self.has(key, count):  # the previous holder of the claim may have written it
                        self._write(key, count, encode)
                        self._verified.add(key.digest())
            return _map(read_entry(self.folder / key.digest()))
        except OSError as error:
            warnings.warn(f"encoded images are not kept ({error})", stacklevel=2)
            return _encoded(key, count, encode())

    def has(self, key: FeatureKey, count: int) -> bool:
        """Whether the table exists and is sound; a store checks each table once."""
        folder = self.folder / key.digest()
        if key.digest() in self._verified and folder.is_dir():
            return True
        try:
            entry = read_entry(folder)
            _check_entry(entry, key, count)
            verify_entry(entry)
        except (DamagedEntryError, OSError):
            return False
        self._verified.add(key.digest())
        return True

    def entries(self) -> list[Entry | DamagedEntryError]:
        """All entries, readable or not, in order of folder names."""
        found: list[Entry | DamagedEntryError] = []
        folders = [path for path in self.folder.glob("[!.]*") if path.is_dir()]
        for folder in sorted(folders):
            try:
                found.append(read_entry(folder))
            except (DamagedEntryError, FileNotFoundError) as error:
                found.append(DamagedEntryError(f"{folder.name}: {error}"))
        return found

    def removal(self, digest: str) -> Removal:
        """What the removal of an entry would take away; only a folder that carries our marks is an entry.

        Raises:
            FileNotFoundError: if there is no entry of that name.
        """
        folder = self.folder / digest
        if not re.fullmatch(ENTRY_NAME, digest) or folder.is_symlink() or not _is_marked(folder):
            raise FileNotFoundError(f"no entry {digest!r} in {str(self.folder)!r}; `adaptkit cache ls` lists them")
        return plan_removal(folder, ENTRY_FILES)

    def remove(self, digest: str) -> Removal:
        """Delete an entry, and return what was deleted and what was not, because it is not ours.

        Raises:
            FileNotFoundError: if there is no entry of that name.
        """
        removal = self.removal(digest)
        self._verified.discard(digest)
        _discard(removal.folder)
        return removal

    def _write(self, key: FeatureKey, count: int, encode: Callable[[], Iterator[Tensor]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned(key.digest())
        target = self.folder / key.digest()
        temporary = self.folder / f".new-{key.digest()}-{uuid.uuid4().hex[:8]}"
        temporary.mkdir()
        try:
            try:
                _write_entry(temporary, key, count, encode())
                with contextlib.suppress(FileNotFoundError):  # there is no entry, or another process removed it
                    _discard(target)
                _set_aside(target)
                temporary.rename(target)
            except OSError as error:
                if error.errno not in TAKEN_OVER:
                    raise
                verify_entry(read_entry(target))  # another process took over and finished; its rows are as good
        finally:
            if temporary.is_dir():
                plan_removal(temporary, ENTRY_FILES).carry_out()

    def _remove_abandoned(self, digest: str) -> None:
        """Remove half-written entries of dead processes; the claim of the entry `digest` is held, so nobody writes it.

        Another process may write other entries, so theirs have to be old.
        """
        for folder in self.folder.glob(".*-*"):
            with contextlib.suppress(FileNotFoundError):  # another process removed it, or finished the entry
                ours = re.fullmatch(ABANDONED_NAME, folder.name) and not folder.is_symlink() and folder.is_dir()
                is_old = time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
                if ours and (is_old or folder.name.startswith((f".new-{digest}-", f".old-{digest}-"))):
                    plan_removal(folder, ENTRY_FILES).carry_out()


def _set_aside(target: Path) -> None:
    """Make room for an entry where a folder is in its place that holds files of somebody else."""
    if target.is_dir() and not (target / "entry.json").is_file():  # else another process was faster
        aside = target.with_name(f"kept-{target.name}-{uuid.uuid4().hex[:8]}")
        target.rename(aside)
        warnings.warn(f"{aside} holds files that adaptkit did not write; they were moved there", stacklevel=4)


def _remove_left(mark: Path) -> None:
    """Remove the claim of a process that was killed after it had finished an entry."""
    if mark.exists():
        with contextlib.suppress(OSError):  # the folder is not ours to write
            claim = Claim(mark)
            if claim.take():
                claim.release()


def read_entry(folder: Path) -> Entry:
    """Read an entry's `entry.json`; the rows are neither read nor checked.

    Raises:
        FileNotFoundError: if there is no entry.
        DamagedEntryError: if the file is not what this version writes.
    """
    try:
        content = read_json(folder / "entry.json", "description of an entry", MAX_ENTRY_BYTES)
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}")
        if content["format"] != FORMAT:
            raise DamagedEntryError(f"entry.json has format {content['format']}; this version reads {FORMAT}")
        key = FeatureKey(**content["key"])
        if key.dtype not in get_args(FeatureDtype):
            raise DamagedEntryError(f"entry.json has dtype {key.dtype!r}; expected one of {get_args(FeatureDtype)}")
        count, dim, shard_rows = (int(content[name]) for name in ("count", "dim", "shard_rows"))
        return Entry(folder, key, count, dim, shard_rows, tuple(content["checksums"]))
    except (FileError, KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, DamagedEntryError):
            raise
        raise DamagedEntryError(f"entry.json cannot be read ({error!r})") from error


def verify_entry(entry: Entry) -> None:
    """Check the size of an entry's file and the checksum of every shard.

    Raises:
        DamagedEntryError: names the damaged shards.
    """
    path = entry.folder / "features.bin"
    size = path.stat().st_size if path.is_file() else 0
    if size != entry.size:
        raise DamagedEntryError(f"features.bin has {size} bytes; {entry.size} expected")
    if len(entry.checksums) != -(-entry.count // max(1, entry.shard_rows)):
        raise DamagedEntryError(f"entry.json has {len(entry.checksums)} checksums for {entry.count} rows")
    bad = []
    with path.open("rb") as file:
        for shard, checksum in enumerate(entry.checksums):
            if hashlib.sha256(file.read(entry.shard_rows * entry.size // entry.count)).hexdigest() != checksum:
                bad.append(shard)
    if bad:
        raise DamagedEntryError(f"shards {bad} of {len(entry.checksums)} do not match their checksums")


def _check_entry(entry: Entry, key: FeatureKey, count: int) -> None:
    if entry.key != key or entry.count != count:
        raise DamagedEntryError(f"holds {entry.count} rows of {entry.key}; expected {count} of {key}")


def _checked(key: FeatureKey, count: int, batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield the batches (b, D) on the CPU in the key's dtype, checking that they make N rows of equal width."""
    rows, dim = 0, 0
    for batch in batches:
        if batch.ndim != 2 or (rows and batch.shape[1] != dim):
            raise ValueError(f"encode gave a batch of shape {tuple(batch.shape)}; expected (b, {dim or 'D'})")
        rows, dim = rows + len(batch), batch.shape[1]
        yield batch.detach().to("cpu", TORCH_DTYPES[key.dtype]).contiguous()
    if rows != count:
        raise ValueError(f"encode gave {rows} rows; {count} items were announced")


def _encoded(key: FeatureKey, count: int, batches: Iterator[Tensor]) -> Tensor:
    stored = list(_checked(key, count, batches))
    return torch.cat(stored) if stored else torch.empty(0, 0, dtype=TORCH_DTYPES[key.dtype])


def _write_entry(folder: Path, key: FeatureKey, count: int, batches: Iterator[Tensor]) -> None:
    dim = 0
    with (folder / "features.bin").open("wb") as file:
        for stored in _checked(key, count, batches):
            dim = stored.shape[1]
            file.write(stored.view(torch.uint8).numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())
    row_bytes = dim * TORCH_DTYPES[key.dtype].itemsize
    shard_rows = max(1, SHARD_BYTES // max(1, row_bytes))
    content = {
        "format": FORMAT,
        "key": asdict(key),
        "count": count,
        "dim": dim,
        "shard_rows": shard_rows,
        "checksums": _checksums(folder / "features.bin", shard_rows * row_bytes),
    }
    (folder / "entry.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def _checksums(path: Path, shard_bytes: int) -> list[str]:
    with path.open("rb") as file:
        return [hashlib.sha256(shard).hexdigest() for shard in iter(lambda: file.read(shard_bytes), b"")]


def _map(entry: Entry) -> Tensor:
    dtype = TORCH_DTYPES[entry.key.dtype]
    if not entry.size:
        return torch.empty(entry.count, entry.dim, dtype=dtype)
    # Mode "c" maps pages privately, so that torch gets a writable tensor over a read-only file.
    rows = np.memmap(entry.folder / "features.bin", dtype=np.uint8, mode="c")
    return torch.from_numpy(rows).view(dtype).view(entry.count, entry.dim)


def _discard(folder: Path) -> None:
    """Move the entry's files away in one step each, the description first, so that no reader meets half an entry."""
    removal = plan_removal(folder, ENTRY_FILES)
    if removal.foreign:  # The folder stays, with what is not ours.
        removal.carry_out()
        return
    doomed = folder.with_name(f".old-{folder.name}-{uuid.uuid4().hex[:8]}")
    folder.rename(doomed)
    plan_removal(doomed, ENTRY_FILES).carry_out()


def _is_marked(folder: Path) -> bool:
    """Whether a folder's `entry.json` is one of ours, sound or damaged."""
    try:
        with (folder / "entry.json").open("rb") as file:
            return re.match(ENTRY_MARK, file.read(200)) is not None
    except OSError:
        return False

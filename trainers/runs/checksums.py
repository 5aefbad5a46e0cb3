"""Checksums in a run's record: of the record itself, and of the files beside it.

They stand in `record.json` under one key, which is no part of what a record says: identities do not know it, and
records without it, from before there were any, are read as they are.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from adaptkit.regular_file import read_bytes, read_json

MAX_LEARNT_BYTES = 2**35  # 32 GiB
CHECKSUMS = "checksums"
OWN = "record"  # The record's own checksum, among those of files.


class ChecksumError(ValueError):
    """A file is not the one that was written; the message names it."""


def with_checksums(content: Mapping[str, object], folder: Path, names: tuple[str, ...]) -> dict[str, object]:
    """A record's content with the checksums of itself and of those of the named files that exist."""
    sums = {name: file_checksum(folder / name) for name in names if (folder / name).is_file()}
    return {**content, CHECKSUMS: {OWN: content_checksum(content), **sums}}


def take_checksums(content: dict[str, object], path: Path) -> None:
    """Take the checksums out of a record's content, after comparing the record's own.

    Raises:
        ChecksumError: if the content has changed since it was written.
    """
    sums = content.pop(CHECKSUMS, None)
    if isinstance(sums, dict) and sums.get(OWN) != content_checksum(content):
        raise ChecksumError(f"{path} has changed since it was written; remove it to have the run computed again")


def check_file(folder: Path, record_file: str, name: str) -> bytes:
    """The bytes of a file beside a record, after comparing their checksum where the record has one.

    Raises:
        ChecksumError: if the file has changed since it was written.
        FileNotFoundError: if it is not there.
    """
    record = read_json(folder / record_file, "record")
    sums = record.get(CHECKSUMS) if isinstance(record, dict) else None
    content = read_bytes(folder / name, "file of learnt tensors", MAX_LEARNT_BYTES)
    expected = sums.get(name) if isinstance(sums, dict) else None
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise ChecksumError(
            f"{folder / name} has changed since it was written; remove the run (`adaptkit runs rm {folder}`) to have "
            "it computed again"
        )
    return content


def content_checksum(content: Mapping[str, object]) -> str:
    """SHA-256 in hex of a record's content, however its file is laid out."""
    text = json.dumps({key: value for key, value in content.items() if key != CHECKSUMS}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """SHA-256 in hex of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Marks of image files by their content, which tell whether two lists share an image wherever it lies."""

import hashlib
from collections.abc import Iterable

from datasets_fewshot.dataset import FewShotDataset, Item
from datasets_fewshot.images.archives import read_bytes

MARK_DIGITS = 16  # of SHA-256 in hex


def content_marks(dataset: FewShotDataset, items: Iterable[Item]) -> tuple[str, ...]:
    """A mark of each item's file, of the bytes as they are: the same picture saved twice has two marks.

    Raises:
        OSError: if a file cannot be read.
    """
    return tuple(hashlib.sha256(read_bytes(dataset.path(item))).hexdigest()[:MARK_DIGITS] for item in items)

"""Read items of one's own: lines of JSON, or a table of an image, a true and a false text."""

import json
from collections.abc import Mapping
from pathlib import Path

from datasets_fewshot.own.table_columns import column_key
from datasets_fewshot.own.table_text import read_lines, split_cells
from datasets_fewshot.pair_tests.pair_tests import PairTests
from datasets_fewshot.pair_tests.placing import WrittenItem, placed_tests
from datasets_fewshot.pair_tests.sugarcrepe import written_captions
from datasets_fewshot.splits.validation import SplitError

WHAT = "list of pair tests"
FORM = (
    '{"image": ..., "positives": [...], "negatives": [...]}, {"image": ..., "caption": ..., "caption2": ..., '
    '"negative_caption": ...} or {"images": [..., ...], "texts": [..., ...]}, each with "subset" if you like'
)
COLUMNS = "image, true, false and, if you like, subset"
ALL = "all"  # the subset of items that name none


def read_lines_of_json(path: Path, images: Path, name: str | None = None) -> PairTests:
    """Read a .jsonl file; items whose images are not there are counted in a note.

    Args:
        name: of the test; None for the file's.

    Raises:
        SplitError: if a line is of none of the forms, or no image is there.
    """
    lines = read_lines(path, WHAT).split("\n")
    written = [_item(line, f"{path.name}: line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    return placed_tests(name or path.stem, images, written, "left out")


def read_triples(path: Path, images: Path) -> PairTests:
    """Read a .csv or .tsv table with columns image, true and false, and perhaps subset.

    Raises:
        SplitError: if a column is not there, a cell is empty, or no image is there.
    """
    cells = list(split_cells(read_lines(path, WHAT), "\t" if path.suffix.lower() == ".tsv" else ",", path))
    keys = [column_key(name) for name in cells[0][1]] if cells else []
    missing = [name for name in ("image", "true", "false") if name not in keys]
    if missing:
        raise SplitError(f"{path} has no column {missing[0]!r}; write a heading with {COLUMNS}")
    written = []
    for line, row in cells[1:]:
        said = dict(zip(keys, (*row, *[""] * (len(keys) - len(row))), strict=False))
        texts = ((said["true"],), (said["false"],))
        where = f"{path.name}: line {line}"
        written.append(WrittenItem(said.get("subset") or ALL, "texts", (said["image"],), *texts, where))
    return placed_tests(path.stem, images, written, "left out")


def _item(line: str, where: str) -> WrittenItem:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SplitError(f"{where} is not JSON ({getattr(error, 'msg', None) or error})") from error
    if not isinstance(content, dict):
        raise SplitError(f"{where} is {str(content)[:80]!r}; expected {FORM}")
    subset = content.get("subset", ALL)
    if not isinstance(subset, str) or not subset.strip():
        raise SplitError(f"{where} has the subset {str(subset)[:80]!r}; expected a name")
    if "images" in content:
        images, texts = (_texts(content, key, where) for key in ("images", "texts"))
        if len(images) != 2 or len(texts) != 2:
            raise SplitError(f"{where} has {len(images)} images and {len(texts)} texts; an image pair has two of both")
        return WrittenItem(subset, "image_pairs", images, texts, (), where)
    (image,) = _texts({"image": [content.get("image")]}, "image", where)
    if "negative_caption" in content:
        return written_captions(content, image, subset, where)
    true, false = (_texts(content, key, where) for key in ("positives", "negatives"))
    return WrittenItem(subset, "texts", (image,), true, false, where)


def _texts(content: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    value = content.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise SplitError(f"{where} has {str(value)[:80]!r} as {key}; expected {FORM}")
    return tuple(text.strip() for text in value)

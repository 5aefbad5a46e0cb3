"""Records that are to be linked: each an image, a text or both, and the group that it belongs to.

A table has a row for every record, with columns of images, texts and groups; a cell of an image or of a text may be
empty. Groups are divided as those of image-text pairs: the parts that the table names, or the hash of each group.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from adaptkit.regular_file import user_path
from datasets_fewshot.images.read import Reading, load_image
from datasets_fewshot.own.found import Part
from datasets_fewshot.own.left_out import is_printable
from datasets_fewshot.own.table_columns import PART_COLUMNS, PATH_COLUMNS, column_key
from datasets_fewshot.own.table_paths import check_path, place_paths
from datasets_fewshot.pairs.embedded import EMBEDDED, load_embedded
from datasets_fewshot.pairs.hashed_split import HASHED, part_of
from datasets_fewshot.pairs.pair_set import Captioned, PairSet
from datasets_fewshot.pairs.pair_table import (
    CAPTION_COLUMNS,
    GROUP_COLUMNS,
    TABLE_SUFFIXES,
    first_of,
    known_columns,
    listed_rows,
    text_of,
)
from datasets_fewshot.pairs.placing import part_named
from datasets_fewshot.splits.validation import SplitError

SHOWN = 60  # characters of a text in a name


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """One record: an image, a text, or both."""

    path: str  # posix path of its image, relative to the set's image root; empty where it has none
    text: str  # empty where it has none
    group: str  # records of one thing; empty where the table has no groups

    @property
    def name(self) -> str:
        """How messages and lists call it: its image, or the beginning of its text."""
        return self.path or self.text[:SHOWN]


@dataclass(frozen=True)
class RecordSet:
    """Records in three parts, and the folder or archive that holds their images."""

    name: str
    image_root: Path
    train: tuple[LinkRecord, ...]
    val: tuple[LinkRecord, ...]
    test: tuple[LinkRecord, ...]
    notes: tuple[str, ...] = ()  # what was left out or decided while the set was read
    reading: Reading = "upright"

    @property
    def all(self) -> tuple[LinkRecord, ...]:
        """The records of all parts."""
        return (*self.train, *self.val, *self.test)

    @property
    def has_groups(self) -> bool:
        """Whether every record has a group."""
        return all(record.group for record in self.all)

    def load(self, record: LinkRecord) -> Image.Image:
        """Read a record's image in RGB.

        Raises:
            BadImageError: if the file is missing, truncated or no image.
        """
        return load_image(self.image_root / record.path, self.reading)


@dataclass(frozen=True)
class RecordColumns:
    """What a user says about a table that it does not say itself; None looks for a usual name."""

    image: str | None = None
    text: str | None = None
    group: str | None = None
    encoding: str | None = None  # None recognises UTF-8, UTF-16 and UTF-32

    def __bool__(self) -> bool:
        return any((self.image, self.text, self.group, self.encoding))


USUAL = RecordColumns()


def load_records(source: str | Path, columns: RecordColumns = USUAL) -> RecordSet:
    """Load records that are to be linked.

    Args:
        source: a table (.csv, .tsv, .jsonl) with columns of images, texts and groups, of which one of the first two
            may be missing, and so may their cells; or "mini_pairs", the embedded drawings, each with one caption.

    Raises:
        FileNotFoundError: if there is no such table.
        SplitError: if it has neither images nor texts, breaks a rule, or no record is left; it names the place.
        ValueError: if it is no table.
    """
    if str(source) in EMBEDDED:
        if columns:
            raise ValueError(f"{source} is embedded and has no columns to choose; leave the options of tables out")
        return records_of_pairs(load_embedded(str(source)))
    path = user_path(source, "table of records")
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at {str(path)!r}; give a table, or one of {', '.join(EMBEDDED)}")
    if not path.is_file() or path.suffix.lower() not in TABLE_SUFFIXES:
        raise ValueError(f"{str(path)!r} is no table of records; give one of {', '.join(sorted(TABLE_SUFFIXES))}")
    return _read(path, columns)


def records_of_pairs(pairs: PairSet) -> RecordSet:
    """Images with captions as records: the n-th image of a group takes its n-th caption, so that texts differ, too."""

    def records(listed: Iterable[Captioned]) -> tuple[LinkRecord, ...]:
        seen: dict[str, int] = defaultdict(int)
        found = []
        for item in listed:
            found.append(LinkRecord(item.path, item.captions[seen[item.group] % len(item.captions)], item.group))
            seen[item.group] += 1
        return tuple(found)

    parts = records(pairs.train), records(pairs.val), records(pairs.test)
    return RecordSet(pairs.name, pairs.image_root, *parts, pairs.notes, pairs.reading)


@dataclass(frozen=True, slots=True)
class _Row:
    record: LinkRecord
    part: Part | None
    where: str


def _read(path: Path, columns: RecordColumns) -> RecordSet:
    names, listed = listed_rows(path, columns.encoding)
    if not listed:
        raise SplitError(f"{path} lists no record; write a heading with image, text and group, and a row for each")
    known = {column_key(name): name for name in names}
    cells, where = [row for _, row in listed], str(path)

    def chosen(asked: str | None, usual: Sequence[str], option: str, what: str) -> tuple[str, ...]:
        there = asked is not None or any(name in known for name in usual)
        return known_columns(known, cells, where, asked, usual, option, what) if there else ()

    text = chosen(columns.text, CAPTION_COLUMNS, "--text-column", "texts")
    group = chosen(columns.group, GROUP_COLUMNS, "--group-column", "groups")
    image = chosen(columns.image, [name for name in PATH_COLUMNS if name not in group], "--image-column", "images")
    if not image and not text:
        raise SplitError(
            f"{path} has the columns {', '.join(map(repr, names[:10]))}, and none of them is of images or of texts; "
            "name one with --image-column or --text-column"
        )
    part = tuple(name for name in PART_COLUMNS if name in known and name not in (*image, *text, *group))
    rows = []
    for line, row in listed:
        place = f"{path.name}: line {line}"
        its_image = text_of(first_of(row, image), place, "image")
        if its_image:
            check_path(its_image, place)
        words = " ".join(text_of(first_of(row, text), place, "text").split())
        if not is_printable(words):
            raise SplitError(f"{place}: the text {words[:SHOWN]!a} is no text; write it in UTF-8")
        its_part = part_named(text_of(first_of(row, part), place, "part"), place)
        rows.append(_Row(LinkRecord(its_image, words, text_of(first_of(row, group), place, "group")), its_part, place))
    rows, notes = _placed(path, rows)
    return _divided(path, rows, notes)


def _placed(path: Path, rows: Sequence[_Row]) -> tuple[list[_Row], list[str]]:
    """The rows with something in them and with images that are there, and notes on the others."""
    files = place_paths(path.parent, dict.fromkeys(row.record.path for row in rows if row.record.path))
    empty = [row for row in rows if not (row.record.path or row.record.text)]
    missing = [row for row in rows if row.record.path and row.record.path not in files.files]
    left = [row for row in rows if (row.record.path or row.record.text) and row not in missing]
    notes = list(files.notes)
    if empty:
        notes.append(f"{len(empty)} rows have neither image nor text and were left out, the first is {empty[0].where}")
    if missing:
        notes.append(
            f"{len(missing)} records name images that are not there and were left out, the first in "
            f"{missing[0].where}: {missing[0].record.path!r}"
        )
    if not left:
        first = (
            f"{missing[0].where}: {missing[0].record.path!r} is no file" if missing else f"{empty[0].where} is empty"
        )
        raise SplitError(f"{path}: no record is left, {first}; put the table above its images, or fill its texts in")
    there = [
        _Row(LinkRecord(files.files.get(row.record.path, ""), row.record.text, row.record.group), row.part, row.where)
        for row in left
    ]
    return there, notes


def _divided(path: Path, rows: Sequence[_Row], notes: list[str]) -> RecordSet:
    """The records in the parts that the table names, or by the hash of each group; without groups, all for testing."""
    homeless = [row for row in rows if row.part is None]
    if homeless and len(homeless) < len(rows):
        raise SplitError(
            f"{homeless[0].where} and {len(homeless) - 1} more rows have no part, and others have one; name it for all "
            "or for none"
        )
    ungrouped = [row for row in rows if not row.record.group]
    if ungrouped and len(ungrouped) < len(rows):
        raise SplitError(
            f"{ungrouped[0].where} and {len(ungrouped) - 1} more rows have no group, and others have one; fill it in"
        )
    parts: dict[Part, list[LinkRecord]] = {"train": [], "val": [], "test": []}
    homes: dict[str, tuple[Part, str]] = {}
    for row in rows:
        part = row.part or ("test" if ungrouped else part_of(row.record.group))
        home, where = homes.setdefault(row.record.group, (part, row.where)) if not ungrouped else (part, "")
        if home != part:
            raise SplitError(
                f"{row.where}: the group {row.record.group!r} is in {part} here and in {home} in {where}; put every "
                "group into one part, or leave the parts out to have them drawn by group"
            )
        parts[part].append(row.record)
    if homeless and not ungrouped:
        notes.append(HASHED)
    train, val, test = (tuple(parts[part]) for part in ("train", "val", "test"))
    return RecordSet(path.stem, path.parent, train, val, test, tuple(notes))

"""Load images with their captions: the embedded set, or a path to your own."""

from pathlib import Path

from adaptkit.regular_file import user_path
from datasets_fewshot.own.metadata_folder import METADATA_FILES
from datasets_fewshot.own.shards import is_shards
from datasets_fewshot.pairs.caption_folder import find_tables, read_caption_folder
from datasets_fewshot.pairs.embedded import EMBEDDED, load_embedded
from datasets_fewshot.pairs.karpathy import PATTERN, read_karpathy
from datasets_fewshot.pairs.listed import Source, to_pair_set
from datasets_fewshot.pairs.pair_set import PairSet
from datasets_fewshot.pairs.pair_shards import read_pair_shards
from datasets_fewshot.pairs.pair_table import TABLE_SUFFIXES, PairColumns, has_captions, read_pair_table
from datasets_fewshot.splits.validation import SplitError

__all__ = ["load_pairs"]

SHOWN_SUFFIXES = ", ".join(sorted(TABLE_SUFFIXES))


def load_pairs(
    source: str | Path,
    *,
    image_column: str | None = None,
    caption_column: str | None = None,
    group_column: str | None = None,
    encoding: str | None = None,
) -> PairSet:
    """Load images with their captions.

    Whatever is left out or decided on the way is in the set's notes. Parts that the source names are kept; otherwise
    the hash of an image's group says its part, so that images that join later move none of the others.

    Args:
        source: "mini_pairs", the embedded set, or "mini_pairs_long", the same images with one long caption each; or a
            path: a table (.csv, .tsv, .jsonl) with an image and a caption, or a list of captions, in each row;
            Karpathy's dataset_coco.json or dataset_flickr30k.json; a folder with metadata.csv or metadata.jsonl; a
            .tar shard, a folder of shards or a .txt list of them.
        image_column: the table's column of images; None looks for a usual name. `caption_column` and `group_column`
            are alike.
        encoding: of the table, such as "cp1252"; None recognises UTF-8, UTF-16 and UTF-32.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        SplitError: if it holds no pairs, or breaks a rule; the message names the place.
        ValueError: if it is of no form that is read, or may not be read.
    """
    columns = PairColumns(image_column, caption_column, group_column, encoding)
    if str(source) in EMBEDDED:
        if columns:
            raise ValueError(f"{source} is embedded and has no columns to choose; leave the options of tables out")
        return load_embedded(str(source))
    return to_pair_set(read_source(user_path(source, "pairs"), columns))


def read_source(path: Path, columns: PairColumns) -> Source:
    """The rows of a path, in the form that it has.

    Raises:
        FileNotFoundError, SplitError, ValueError: as `load_pairs` does.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"there is nothing at {str(path)!r}; give a table or a folder, or one of {', '.join(EMBEDDED)}"
        )
    if path.is_dir():
        return _read_folder(path, columns)
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is a pipe, a socket or a device; give a table or a folder")
    suffix = path.suffix.lower()
    if suffix in TABLE_SUFFIXES or (suffix == ".txt" and has_captions(path, columns)):
        return read_pair_table(path, columns)
    if columns:
        raise ValueError(f"options of tables are given, and {str(path)!r} is no table ({SHOWN_SUFFIXES})")
    if suffix == ".json":
        return read_karpathy(path)
    if is_shards(path):
        return read_pair_shards(path)
    raise ValueError(
        f"{str(path)!r} is no table ({SHOWN_SUFFIXES}), no .json of Karpathy's, no .tar and no list of .tar"
    )


def _read_folder(path: Path, columns: PairColumns) -> Source:
    if tables := find_tables(path):
        return read_caption_folder(path, tables, columns)
    if columns:
        raise ValueError(f"options of tables are given, and {str(path)!r} has no {' or '.join(METADATA_FILES)}")
    if is_shards(path):
        return read_pair_shards(path)
    listed = sorted(path.glob(PATTERN))
    if len(listed) == 1:
        return read_karpathy(listed[0])
    raise SplitError(
        f"{str(path)!r} has no captions: no {' or '.join(METADATA_FILES)}, no .tar, and "
        + (f"{len(listed)} files {PATTERN}, so name one of them" if listed else f"no {PATTERN}; name the table itself")
    )

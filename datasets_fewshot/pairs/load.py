"""Load images with their captions: the embedded set, or a path to your own."""

from pathlib import Path

from adaptkit.regular_file import user_path
from datasets_fewshot.pairs.embedded import EMBEDDED, load_embedded
from datasets_fewshot.pairs.listed import Source, to_pair_set
from datasets_fewshot.pairs.pair_set import PairSet
from datasets_fewshot.pairs.pair_table import TABLE_SUFFIXES, PairColumns, read_pair_table

__all__ = ["load_pairs"]


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
            path to a table (.csv, .tsv, .jsonl) with an image and a caption, or a list of captions, in each row.
        image_column: the table's column of images; None looks for a usual name. `caption_column` and `group_column`
            are alike.
        encoding: of the table, such as "cp1252"; None recognises UTF-8, UTF-16 and UTF-32.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        SplitError: if it holds no pairs, or breaks a rule; the message names the place.
        ValueError: if it is of no form that is read.
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
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        return read_pair_table(path, columns)
    raise ValueError(f"{str(path)!r} is no table ({', '.join(sorted(TABLE_SUFFIXES))})")

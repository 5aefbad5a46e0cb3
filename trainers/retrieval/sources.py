"""What goes into a gallery: the images of a folder, the images or texts of a table, or the lines of a text file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adaptkit.regular_file import open_regular, said, user_path
from adaptkit.texts.cased.index import tidied
from adaptkit.texts.cased.index_files import read_captions
from datasets_fewshot.images.read import IMAGE_SUFFIXES
from datasets_fewshot.own.image_table import TABLE_SUFFIXES
from datasets_fewshot.own.image_tree import walk_images
from datasets_fewshot.own.listed import listed_images, listed_texts

Kind = Literal["images", "texts"]
TEXT_SUFFIXES = (".txt", ".gz", ".parquet")


@dataclass(frozen=True)
class Entries:
    """The entries of a gallery in their order."""

    kind: Kind
    root: str  # folder that images are named below; empty for texts
    names: Iterable[str]  # paths below the root, or texts
    notes: tuple[str, ...] = ()


def read_entries(
    place: str, path_column: str | None = None, text_column: str | None = None, encoding: str | None = None
) -> Entries:
    """The images or texts that a path stands for.

    Args:
        place: a folder of images; a .csv, .tsv or .jsonl table; a .txt or .txt.gz file of a text a line; or a .parquet
            file with a column called caption.
        path_column: of a table, the column of images; None looks for one.
        text_column: of a table, the column of texts, which makes it a gallery of texts.
        encoding: of a table; None recognises UTF-8, UTF-16 and UTF-32.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it holds no image, or is none of these.
    """
    path = user_path(place, "data")
    suffix = path.suffix.lower()
    if path.is_dir():
        images = [image.relative_to(path).as_posix() for image in walk_images(path)]
        if not images:
            raise ValueError(
                f"the folder {said(place)} holds no image; they end in {', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        return Entries("images", str(path.resolve()), images)
    if suffix in TABLE_SUFFIXES:
        if text_column is not None:
            texts = [tidy for text in listed_texts(path, text_column, encoding) if (tidy := tidied(text))]
            return Entries("texts", "", texts)
        listed = listed_images(path, path_column, encoding)
        return Entries("images", str(path.parent.resolve()), listed.paths, listed.notes)
    if suffix in TEXT_SUFFIXES:
        open_regular(path, "list of texts").close()  # at once: texts are read as they are encoded
        return Entries("texts", "", read_captions(path))
    if not path.exists():
        raise FileNotFoundError(f"there is no data {said(place)}; check the path")
    raise ValueError(
        f"{said(place)} is no data for an index; give a folder of images, a table "
        f"({', '.join(sorted(TABLE_SUFFIXES))}) or a list of texts ({', '.join(TEXT_SUFFIXES)})"
    )


def image_below(root: Path, name: str) -> Path:
    """The file of an image of a gallery.

    Raises:
        ValueError: if the name leads out of the folder.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"the image {name!r} does not lie below {str(root)!r}; build the index again")
    return root / path

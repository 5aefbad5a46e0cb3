"""Read a folder saved by Hugging Face `datasets`: its images are copied, once, into a zip in the cache."""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from datasets_fewshot.images.archives import list_members
from datasets_fewshot.own.found import PART_NAMES, Found, FoundImage
from datasets_fewshot.splits.validation import SplitError
from datasets_fewshot.store.cache_folder import cache_folder

if TYPE_CHECKING:
    import datasets

WHOLE = "all"  # part name for data without parts


def is_hf_folder(path: Path) -> bool:
    """Whether the folder was written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def read_hf_folder(path: Path) -> Found:
    """Read all rows: images from the first image column, classes from the first column of class labels, else of words.

    Raises:
        ImportError: if `datasets` is not installed.
        SplitError: if there is no image column or no class column.
    """
    archive = cache_folder() / "hf" / f"{path.resolve().name}-{_fingerprint(path)}.zip"
    if not archive.is_file():
        _export(path, archive)
    return Found(archive, tuple(_found(member) for member in list_members(archive)))


def _found(member: str) -> FoundImage:
    part, classname, _ = member.split("/")
    return FoundImage(member, unquote(classname), None if part == WHOLE else PART_NAMES[part])


def _fingerprint(path: Path) -> str:
    """Hash of the rows, from the fingerprint that `datasets` writes into each state.json."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("state.json")):
        digest.update(file.relative_to(path).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _export(path: Path, archive: Path) -> None:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"reading {str(path)!r} needs Hugging Face's library; run: pip install datasets") from error
    loaded = datasets.load_from_disk(str(path))
    tables = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {WHOLE: loaded}
    unknown = sorted(set(tables) - set(PART_NAMES) - {WHOLE})
    if unknown:
        raise SplitError(f"{str(path)!r} has the parts {unknown}; rename them to train, validation or test")
    archive.parent.mkdir(parents=True, exist_ok=True)
    temporary = archive.with_name(f".{archive.name}.{os.getpid()}")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as zipped:
        for part, table in tables.items():
            _export_table(table, part, zipped, path)
    temporary.replace(archive)


def _export_table(table: "datasets.Dataset", part: str, zipped: zipfile.ZipFile, path: Path) -> None:
    from datasets import ClassLabel, Image, Value

    kinds = {kind: [name for name, f in table.features.items() if isinstance(f, kind)] for kind in (Image, ClassLabel)}
    words = [name for name, f in table.features.items() if isinstance(f, Value) and f.dtype == "string"]
    classes = kinds[ClassLabel] or words
    if not kinds[Image] or not classes:
        raise SplitError(
            f"{str(path)!r} has the columns {list(table.features)}; it needs one of images (datasets.Image) and one "
            "of classes (datasets.ClassLabel, or words)"
        )
    image_column, class_column = kinds[Image][0], classes[0]
    to_name = table.features[class_column].int2str if kinds[ClassLabel] else str
    for index, row in enumerate(table.cast_column(image_column, Image(decode=False))):
        stored = row[image_column]
        content = stored["bytes"] if stored["bytes"] is not None else Path(stored["path"]).read_bytes()
        # The class is quoted, because it may contain a slash, as in "indoor/outdoor".
        zipped.writestr(f"{part}/{quote(to_name(row[class_column]), safe=' ')}/{index:07d}", content)

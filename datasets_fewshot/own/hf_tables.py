"""Tables of Apache Arrow with images in them, as Hugging Face's library and Hub store them: columns and rows."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.regular_file import open_regular, read_bytes, shortened
from datasets_fewshot.splits.validation import SplitError, check_relative

if TYPE_CHECKING:
    import pyarrow

PARQUET = ".parquet"
LABEL_NAMES = ("label", "labels", "class", "class_name", "classname", "category", "target", "fine_label")
MAX_IMAGE_BYTES = 2**28
IMAGE_ADVICE = "it needs one of images (datasets.Image) and one of classes (datasets.ClassLabel, or words)"


@dataclass(frozen=True)
class Columns:
    """The columns that are read, and how a class is called."""

    image: str
    label: str
    names: tuple[str, ...] = ()  # of the class numbers; empty where the column has words or nameless numbers


@dataclass(frozen=True)
class Row:
    """One image, undecoded, and its class."""

    content: bytes
    classname: str


def require_pyarrow(path: Path) -> None:
    """Raise an ImportError that says what to install, unless pyarrow is there."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"reading {str(path)!r} needs pyarrow; run: pip install pyarrow (or save the images as folders of classes)"
        ) from error


def read_columns(file: Path, image_column: str | None, label_column: str | None) -> Columns:
    """Choose the columns of images and of classes.

    Args:
        image_column: its name; None takes the only one of images. `label_column` is alike: None takes the only column
            of class labels, else the only one that is called like a class.

    Raises:
        SplitError: if there is none, or it is not clear which; the message lists the columns.
    """
    schema = _open(file)[0]
    features = _features(schema)
    listed = f"{str(file)!r} has the columns {', '.join(schema.names)}"
    for option, name in (("--path-column", image_column), ("--label-column", label_column)):
        if name is not None and name not in schema.names:
            raise SplitError(f"{option} {name}: {listed}")
    images = [image_column] if image_column else [n for n in schema.names if _is_image(n, schema, features)]
    if len(images) != 1:
        wrong = f"; {IMAGE_ADVICE}" if not images else f"; name the one of the images, as --path-column {images[0]}"
        raise SplitError(listed + wrong)
    labels = [label_column] if label_column else _label_columns(schema, features, images[0])
    if len(labels) != 1:
        others = labels or [name for name in schema.names if name != images[0]]
        if not others:
            raise SplitError(f"{listed}; {IMAGE_ADVICE}")
        raise SplitError(f"{listed}, and it is not clear which has the classes; name it, as --label-column {others[0]}")
    feature = features.get(labels[0], {})
    names = feature.get("names", ()) if feature.get("_type") == "ClassLabel" else ()
    return Columns(images[0], labels[0], tuple(str(name) for name in names))


def read_rows(file: Path, columns: Columns) -> Iterator[Row]:
    """The rows of a file, in order.

    Raises:
        SplitError: names the file and the row (counted from 0) that has no image or no class.
    """
    import pyarrow

    schema, batches = _open(file)
    if missing := [name for name in (columns.image, columns.label) if name not in schema.names]:
        raise SplitError(f"{str(file)!r} has no column {missing[0]!r}, which the first file of the data has")
    index = 0
    try:
        for batch in batches:
            images, labels = (batch.column(schema.names.index(n)).to_pylist() for n in (columns.image, columns.label))
            for image, label in zip(images, labels, strict=True):
                where = f"{str(file)!r}: row {index}"
                yield Row(_content(image, file.parent, where), _class_name(label, columns, where))
                index += 1
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError) as error:
        raise SplitError(
            f"{str(file)!r} is damaged after row {index} ({shortened(str(error))}); get it anew"
        ) from error


def _open(file: Path) -> "tuple[pyarrow.Schema, Iterator[pyarrow.RecordBatch]]":
    """The schema of a file, and its rows in batches."""
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    open_regular(file, "table of images").close()
    try:
        if file.suffix.lower() == PARQUET:
            parquet = pyarrow.parquet.ParquetFile(file)
            return parquet.schema_arrow, parquet.iter_batches(batch_size=64)
        stream = pyarrow.ipc.open_stream(pyarrow.memory_map(str(file)))
        return stream.schema, iter(stream)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError) as error:
        with open_regular(file, "table of images") as opened:
            is_pointer = opened.read(40).startswith(b"version https://git-lfs")
        advice = "it is a pointer of git-lfs, not the file: run git lfs pull" if is_pointer else "download it again"
        form = "Parquet" if file.suffix.lower() == PARQUET else "Arrow"
        raise SplitError(f"{str(file)!r} is no {form} that can be read ({shortened(str(error))}); {advice}") from error


def _features(schema: "pyarrow.Schema") -> Mapping[str, Mapping[str, Any]]:
    """What Hugging Face's library wrote about the columns; nothing where another program wrote the file."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    described = features.items() if isinstance(features, dict) else ()
    return {name: feature for name, feature in described if isinstance(feature, dict)}


def _is_image(name: str, schema: "pyarrow.Schema", features: Mapping[str, Mapping[str, Any]]) -> bool:
    import pyarrow

    if name in features:
        return features[name].get("_type") == "Image"
    kind = schema.field(name).type
    if pyarrow.types.is_struct(kind):
        return "bytes" in [kind.field(place).name for place in range(kind.num_fields)]
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _label_columns(schema: "pyarrow.Schema", features: Mapping[str, Mapping[str, Any]], image: str) -> list[str]:
    """Columns of class labels; without one, those that are called like a class."""
    labels = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    return labels or [name for name in schema.names if name.lower() in LABEL_NAMES and name != image]


def _content(image: object, folder: Path, where: str) -> bytes:
    if isinstance(image, dict):
        content, path = image.get("bytes"), image.get("path")
        if content is None and isinstance(path, str) and path:
            return read_bytes(folder / check_relative(path, where), "image", MAX_IMAGE_BYTES)
        image = content
    if not isinstance(image, bytes) or not image:
        raise SplitError(f"{where} has no image; leave the row out, or name the column with --path-column")
    return image


def _class_name(label: object, columns: Columns, where: str) -> str:
    number = label if isinstance(label, int) and not isinstance(label, bool) else None
    if label is None or label == "" or (columns.names and number == -1):
        raise SplitError(
            f"{where} has no class in the column {columns.label!r} ({label!r}); leave the row out, or remove the files "
            "of a part whose classes are kept secret"
        )
    if columns.names:
        if number is None or not 0 <= number < len(columns.names):
            raise SplitError(f"{where}: the class is {label!r}; expected a number from 0 to {len(columns.names) - 1}")
        return columns.names[number]
    if not isinstance(label, str | int):
        raise SplitError(f"{where}: the class is {shortened(repr(label), 80)}; expected a word or a whole number")
    return str(label)

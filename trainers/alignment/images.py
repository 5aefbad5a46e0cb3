"""Images without labels, from wherever they come: a data set by name, pairs, a folder, or a table."""

from pathlib import Path

from adaptkit.regular_file import user_path
from datasets_fewshot import FewShotDataset, Item, Split, list_datasets, load_dataset
from datasets_fewshot.own.shards import is_shards
from datasets_fewshot.pairs.embedded import EMBEDDED
from datasets_fewshot.pairs.load import load_pairs
from trainers.pairs.batches import as_dataset
from trainers.retrieval.sources import read_entries

NO_CLASS = "image"  # what every image is called


def unlabelled_images(source: str, root: Path | None = None, path_column: str | None = None) -> FewShotDataset:
    """The images of a source as a data set whose labels mean nothing; training images are in `split.train`.

    Args:
        source: the name of a data set; an embedded set of pairs, Karpathy's JSON or shards; a folder of images, at any
            depth; or a table of images (.csv, .tsv, .jsonl).
        root: the folder of the papers' data sets.
        path_column: of a table, the column of images; None looks for a usual name.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it holds no image to train on, or is none of these.
    """
    if source in list_datasets():
        return _with_images(load_dataset(source, root), source)
    if source in EMBEDDED:
        return _with_images(as_dataset(load_pairs(source)), source)
    path = user_path(source, "data")
    if path.is_file() and (path.suffix.lower() == ".json" or is_shards(path)):
        return _with_images(as_dataset(load_pairs(path)), source)
    entries = read_entries(source, path_column)
    if entries.kind != "images":
        raise ValueError(f"{source!r} is a list of texts; an alignment learns from images: give a folder or a table")
    items = tuple(Item(name, 0, NO_CLASS) for name in entries.names)
    dataset = FewShotDataset(path.stem, Path(entries.root), Split(items, (), ()), entries.notes, "upright")
    return _with_images(dataset, source)


def _with_images(dataset: FewShotDataset, source: str) -> FewShotDataset:
    if not dataset.split.train:
        raise ValueError(f"{source!r} has no training images, and an alignment learns from them; give other data")
    return dataset

"""Read the old few-shot pickles of CoOp's code (split_fewshot/shot_16-seed_1.pkl) without running code in them.

Unpickling runs code of the file's choosing. Here the file is read as data: a record of Dassl's is what its pickle says
of its fields, and anything else in its place is refused. Paths in those files are absolute, on the machine that wrote
them, and are re-rooted at the data set's own image folder.
"""

from pathlib import Path

from adaptkit.inert_pickle import Inert, InertPickleError, Name, load_inert
from adaptkit.regular_file import read_bytes
from datasets_fewshot.dataset import Split
from datasets_fewshot.paper_format.paper_dataset import PaperDataset
from datasets_fewshot.splits.validation import SplitError, check_split, parse_items

RECORD = Name("dassl.data.datasets.base_dataset", "Datum")
MAX_BYTES = 256 * 2**20  # twice the size of the largest such file, that of ImageNet


def import_pickle(path: str | Path, dataset: PaperDataset) -> Split:
    """Read the lists of an old few-shot pickle; lists that it lacks (usually test) are empty.

    Raises:
        SplitError: if the file asks for anything but the record type, is no such pickle, or lists images of
            another data set.
    """
    content = _load(Path(path))
    if not isinstance(content, dict) or not content or set(content) - {"train", "val", "test"}:
        raise SplitError(f"{path}: holds no lists named train, val or test")
    lists = []
    for key in ("train", "val", "test"):
        records = content.get(key, [])
        if not isinstance(records, list):
            raise SplitError(f"{path}: {key} is a {type(records).__name__}; expected a list")
        where = f"{path}: {key}"
        rows = [_row(record, dataset, f"{where}[{index}]") for index, record in enumerate(records)]
        lists.append(tuple(parse_items(rows, where)))
    split = Split(*lists)
    check_split(split, str(path))
    return split


def _load(path: Path) -> object:
    try:
        return load_inert(read_bytes(path, "few-shot list", MAX_BYTES))
    except InertPickleError as error:
        raise SplitError(f"{path}: not a few-shot list of CoOp's code ({error}); nothing in it was run") from error


def _row(record: object, dataset: PaperDataset, place: str) -> list[object]:
    fields = record.state if isinstance(record, Inert) and _kind(record) == RECORD else None
    fields = fields if isinstance(fields, dict) else {}
    path, label, classname = (fields.get(name) for name in ("_impath", "_label", "_classname"))
    kinds = [type(field) for field in (path, label, classname)]
    if not isinstance(path, str) or kinds != [str, int, str]:
        # The message names types only, because a hostile object may be endless when printed.
        raise SplitError(
            f"{place} is no record of an image: {[kind.__name__ for kind in kinds]}, not path, label, name"
        )
    return [_reroot(path, dataset, place), label, classname]


def _kind(record: Inert) -> object:
    """The class of a record; the oldest pickles name it as an argument."""
    made_by_copyreg = isinstance(record.kind, Name) and record.kind.name == "_reconstructor"
    return record.args[0] if made_by_copyreg and isinstance(record.args, tuple) and record.args else record.kind


def _reroot(path: str, dataset: PaperDataset, place: str) -> str:
    """The part of an absolute path below the image folder, in the layout that wrote the path."""
    posix = path.replace("\\", "/")
    for layout in dataset.layouts:
        folder = "/".join(part for part in (layout.folder, layout.images) if part)
        if folder:
            _, found, rest = posix.rpartition(f"/{folder}/")
            if found:
                return rest
    raise SplitError(f"{place}: {path!r} is not below a folder of {dataset.title}; is this its pickle?")

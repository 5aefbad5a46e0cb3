"""Read JSON lists of captions and false captions: SugarCrepe++, SugarCrepe, and VL-CheckList.

Dumpala et al., "SUGARCREPE++ Dataset: Vision-Language Model Sensitivity to Semantic and Lexical Alterations",
arXiv:2406.11171: {"filename", "caption", "caption2", "negative_caption"}, two captions of one meaning and a false one.
SugarCrepe (arXiv:2306.14610) has no "caption2". VL-CheckList (arXiv:2207.00221) lists [image, {"POS": [...], "NEG":
[...]}]. SugarCrepe is an object of numbered items in its first release, and that is read, too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adaptkit.regular_file import read_json
from datasets_fewshot.pair_tests.pair_tests import PairTests
from datasets_fewshot.pair_tests.placing import WrittenItem, placed_tests
from datasets_fewshot.splits.validation import SplitError

WHAT = "list of captions and false captions"
SIZES = {"swap_obj": 245, "swap_att": 666, "replace_obj": 1652, "replace_att": 788, "replace_rel": 1406}
FORM = (
    '[{"filename": ..., "caption": ..., "caption2": ..., "negative_caption": ...}, ...], without caption2 where an '
    'image has one true caption, or [["image.jpg", {"POS": [...], "NEG": [...]}], ...]'
)


def find_subsets(folder: Path) -> list[Path]:
    """The files of SugarCrepe++'s subsets in a folder, or in one below it called "data"."""
    for place in (folder, folder / "data"):
        found = [place / f"{name}.json" for name in SIZES if (place / f"{name}.json").is_file()]
        if found:
            return found
    return []


def read_json_tests(files: Sequence[Path], name: str, images: Path) -> PairTests:
    """Read files, each of which is a subset of its name.

    Raises:
        SplitError: if a file has another form, a published subset of SugarCrepe++ another size, or none of the images
            is there; all have to be there for SugarCrepe++.
    """
    written = [item for file in files for item in _items(file)]
    is_published = any(item.kind == "two_texts" and item.subset in SIZES for item in written)
    return placed_tests(name, images, written, "refused" if is_published else "left out")


def _items(file: Path) -> list[WrittenItem]:
    content = read_json(file, WHAT)
    if isinstance(content, dict):
        content = list(content.values())
    if not isinstance(content, list) or not content:
        raise SplitError(f"{file} lists no items; expected {FORM}")
    items = [_item(item, file.stem, f"{file.name}: item {place}") for place, item in enumerate(content)]
    if items[0].kind == "two_texts" and len(items) != SIZES.get(file.stem, len(items)):
        raise SplitError(
            f"{file} has {len(items)} items, and SugarCrepe++'s {file.stem} has {SIZES[file.stem]}, of which its "
            "numbers are; give the whole file, or call a part of it otherwise"
        )
    return items


def _item(item: object, subset: str, where: str) -> WrittenItem:
    if isinstance(item, list) and len(item) == 2 and isinstance(item[1], dict):
        true, false = (_texts(item[1].get(key), where) for key in ("POS", "NEG"))
        return WrittenItem(subset, "texts", (_text(item[0], where),), true, false, where)
    if not isinstance(item, dict):
        raise SplitError(f"{where} is {str(item)[:80]!r}; expected {FORM}")
    return written_captions(item, _text(item.get("filename"), where), subset, where)


def written_captions(item: Mapping[str, object], image: str, subset: str, where: str) -> WrittenItem:
    """An item with a caption, perhaps a second one of the same meaning, and a false caption.

    Raises:
        SplitError: if one of them is no text.
    """
    captions = tuple(_text(item[key], where) for key in ("caption", "caption2") if item.get(key) is not None)
    false = _text(item.get("negative_caption"), where)
    return WrittenItem(subset, "two_texts" if len(captions) == 2 else "texts", (image,), captions, (false,), where)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise SplitError(f"{where} has {str(value)[:80]!r} in place of a text; expected {FORM}")
    return value.strip()


def _texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise SplitError(f"{where} has {str(value)[:80]!r} in place of a list of texts; expected {FORM}")
    return tuple(_text(text, where) for text in value)

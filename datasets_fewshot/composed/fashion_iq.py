"""FashionIQ (Wu et al., arXiv:1905.12794) as it is published, in a folder of the user's.

captions/cap.dress.val.json        [{"candidate": id, "target": id, "captions": [text, text]}, ...]
image_splits/split.dress.val.json  [id, ...], the gallery
images/ID.png                      or .jpg
"""

from pathlib import Path

from adaptkit.regular_file import read_json
from datasets_fewshot.composed.composed_set import ComposedQuery, ComposedSet, check_queries
from datasets_fewshot.composed.fields import inside, read_list, text_of, texts_of
from datasets_fewshot.splits.validation import SplitError

CATEGORIES = ("dress", "shirt", "toptee")
ENDINGS = (".png", ".jpg", ".jpeg")


def read_fashion_iq(root: Path, part: str = "val") -> tuple[ComposedSet, ...]:
    """The three categories, each with a gallery of its own; the two captions of a query are joined by "and".

    Args:
        part: train or val; test is published without targets.

    Raises:
        FileNotFoundError, FileError: if a file is missing or cannot be read.
        SplitError: names the file, the query and what was expected there.
    """
    return tuple(_category(root, category, part) for category in CATEGORIES)


def _category(root: Path, category: str, part: str) -> ComposedSet:
    listed = root / "image_splits" / f"split.{category}.{part}.json"
    names = read_json(listed, "list of images of FashionIQ")
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise SplitError(f"{listed} is no list of images of FashionIQ: expected a JSON list of ids")
    files = {name: _file(root, name, str(listed)) for name in names}
    place = root / "captions" / f"cap.{category}.{part}.json"
    queries = []
    for number, entry in enumerate(read_list(place, "captions of FashionIQ"), start=1):
        where = f"{place}: query {number}"
        if "target" not in entry:
            continue
        reference, target = text_of(entry, "candidate", where), text_of(entry, "target", where)
        if target not in files:
            raise SplitError(f"{where}: the target {target!r} is not in {listed}; take both files from one release")
        modifier = " and ".join(" ".join(text.split()) for text in texts_of(entry, "captions", where))
        image = files.get(reference) or _file(root, reference, where)
        queries.append(ComposedQuery(image, modifier, (files[target],), group=category))
    gallery, found = tuple(dict.fromkeys(files.values())), tuple(queries)
    check_queries(str(place), gallery, found)
    return ComposedSet(f"fashion_iq {category}", root, gallery, found, recall_at=(10, 50), hides_reference=False)


def _file(root: Path, name: str, where: str) -> str:
    """The path of an image by its id: the ending that is there, or the first where none is."""
    stem = inside(f"images/{name}", where)
    return next((f"{stem}{ending}" for ending in ENDINGS if (root / f"{stem}{ending}").exists()), f"{stem}{ENDINGS[0]}")

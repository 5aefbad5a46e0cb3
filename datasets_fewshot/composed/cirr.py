"""CIRR (Liu et al., arXiv:2108.04024) as it is published, in a folder of the user's.

    cirr/captions/cap.rc2.val.json        [{"reference": id, "target_hard": id, "caption": text,
                                            "img_set": {"members": [id, ...]}}, ...]
    cirr/image_splits/split.rc2.val.json  {id: "./dev/ID.png"}, the gallery
    dev/ID.png

The two folders may also lie in the root itself, and the images in its folder `img_raw`.
"""

from pathlib import Path

from adaptkit.regular_file import read_json
from datasets_fewshot.composed.composed_set import ComposedQuery, ComposedSet, check_queries
from datasets_fewshot.composed.fields import first_folder, inside, read_list, text_of, texts_of
from datasets_fewshot.splits.validation import SplitError


def read_cirr(root: Path, part: str = "val") -> tuple[ComposedSet, ...]:
    """The queries of a part; the subset of a query are the other images of its set.

    Args:
        part: train or val; test1 is published without targets.

    Raises:
        FileNotFoundError, FileError: if a file is missing or cannot be read.
        SplitError: names the file, the query and what was expected there.
    """
    listed = first_folder(root, "cirr/image_splits", "image_splits") / f"split.rc2.{part}.json"
    named = read_json(listed, "list of images of CIRR")
    if not isinstance(named, dict) or not all(isinstance(path, str) and path for path in named.values()):
        raise SplitError(f"{listed} is no list of images of CIRR: expected a JSON object of id: path")
    files = {name: inside(path, str(listed)) for name, path in named.items()}
    place = first_folder(root, "cirr/captions", "captions") / f"cap.rc2.{part}.json"
    queries = []
    for number, entry in enumerate(read_list(place, "captions of CIRR"), start=1):
        where = f"{place}: query {number}"
        if "target_hard" not in entry:
            continue
        ids = [text_of(entry, field, where) for field in ("reference", "target_hard")]
        own_set = entry.get("img_set")
        members = texts_of(own_set, "members", where) if isinstance(own_set, dict) else ()
        missing = [name for name in (*ids, *members) if name not in files]
        if missing:
            raise SplitError(f"{where}: the image {missing[0]!r} is not in {listed}; take both files from one release")
        reference, target = (files[name] for name in ids)
        others = tuple(files[name] for name in members if files[name] != reference)
        queries.append(ComposedQuery(reference, text_of(entry, "caption", where), (target,), others))
    gallery, found = tuple(dict.fromkeys(files.values())), tuple(queries)
    check_queries(str(place), gallery, found)
    images = root / "img_raw" if (root / "img_raw").is_dir() else root
    return (ComposedSet("cirr", images, gallery, found),)

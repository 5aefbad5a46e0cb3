"""CIRCO (Baldrati et al., arXiv:2303.15247) as it is published, in a folder of the user's.

annotations/val.json                                              [{"reference_img_id": 1, "target_img_id": 2,
                                                                    "relative_caption": text, "gt_img_ids": [2, 3]}]
COCO2017_unlabeled/annotations/image_info_unlabeled2017.json      {"images": [{"id": 1, "file_name": name}]}
COCO2017_unlabeled/unlabeled2017/NAME                             the gallery
"""

from pathlib import Path

from adaptkit.regular_file import read_json
from datasets_fewshot.composed.composed_set import ComposedQuery, ComposedSet, check_queries
from datasets_fewshot.composed.fields import inside, number_of, read_list, text_of
from datasets_fewshot.splits.validation import SplitError

COCO = "COCO2017_unlabeled"


def read_circo(root: Path, part: str = "val") -> tuple[ComposedSet, ...]:
    """The queries of a part, which have several targets.

    Args:
        part: val; test is published without targets.

    Raises:
        FileNotFoundError, FileError: if a file is missing or cannot be read.
        SplitError: names the file, the query and what was expected there.
    """
    listed = root / COCO / "annotations" / "image_info_unlabeled2017.json"
    content = read_json(listed, "list of images of COCO")
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise SplitError(f"{listed} is no list of images of COCO: expected a JSON object with a list 'images'")
    files = {}
    for number, image in enumerate(images, start=1):
        where = f"{listed}: image {number}"
        files[number_of(image, "id", where)] = inside(text_of(image, "file_name", where), where)
    place = root / "annotations" / f"{part}.json"
    queries = []
    for number, entry in enumerate(read_list(place, "annotations of CIRCO"), start=1):
        if "gt_img_ids" in entry:
            queries.append(_query(entry, files, f"{place}: query {number}"))
    gallery, found = tuple(files.values()), tuple(queries)
    check_queries(str(place), gallery, found)
    return (
        ComposedSet("circo", root / COCO / "unlabeled2017", gallery, found, (1, 5, 10, 50), (5, 10, 25, 50), False),
    )


def _query(entry: dict[str, object], files: dict[int, str], where: str) -> ComposedQuery:
    listed = entry["gt_img_ids"]
    if not isinstance(listed, list) or not listed:
        raise SplitError(f"{where}: 'gt_img_ids' is {str(listed)[:80]!r}; expected a list of ids")
    ids = [number_of({"gt_img_ids": value}, "gt_img_ids", where) for value in listed]
    reference = number_of(entry, "reference_img_id", where)
    missing = [number for number in (reference, *ids) if number not in files]
    if missing:
        raise SplitError(f"{where}: the image {missing[0]} is not in the list of COCO's images; take that of 2017")
    targets = tuple(dict.fromkeys(files[number] for number in ids))
    return ComposedQuery(files[reference], text_of(entry, "relative_caption", where), targets)

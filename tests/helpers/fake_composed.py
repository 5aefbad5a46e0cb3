"""Trees of tiny images with the annotation files of FashionIQ, CIRR and CIRCO, as these are published."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from datasets_fewshot.composed.fashion_iq import CATEGORIES

COLOURS = ((200, 30, 30), (30, 30, 200), (30, 160, 60))


def put(path: Path, content: object) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def draw(folder: Path, names: Sequence[str]) -> None:
    """Write an image of one colour for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in zip(names, COLOURS, strict=True):
        Image.new("RGB", (40, 40), colour).save(folder / name)


def rewritten(path: Path, change: Callable[[dict], object]) -> None:
    """Change every entry of a JSON list."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    for entry in entries:
        change(entry)
    put(path, entries)


def fashion_iq_tree(root: Path) -> Path:
    """Three images and two queries of each category; one image of each is a JPEG."""
    for category in CATEGORIES:
        ids = [f"{category}{number}" for number in range(3)]
        draw(root / "images", [f"{ids[0]}.png", f"{ids[1]}.jpg", f"{ids[2]}.png"])
        put(root / "image_splits" / f"split.{category}.val.json", ids)
        texts = ["is red", "has  no sleeves"]
        queries = [{"candidate": ids[0], "target": target, "captions": texts} for target in ids[1:]]
        put(root / "captions" / f"cap.{category}.val.json", queries)
    return root


def cirr_tree(root: Path) -> Path:
    """Three images in one set, and a query."""
    ids = [f"dev-{number}" for number in range(3)]
    draw(root / "dev", [f"{name}.png" for name in ids])
    put(root / "cirr" / "image_splits" / "split.rc2.val.json", {name: f"./dev/{name}.png" for name in ids})
    query = {
        "pairid": 1,
        "reference": ids[0],
        "target_hard": ids[1],
        "target_soft": {ids[1]: 1.0},
        "caption": "the same in blue",
        "img_set": {"id": 1, "members": ids, "reference_rank": 0, "target_rank": 1},
    }
    put(root / "cirr" / "captions" / "cap.rc2.val.json", [query])
    return root


def circo_tree(root: Path) -> Path:
    """Three images, and a query that means two of them."""
    names = [f"{number:012d}.jpg" for number in (1, 2, 3)]
    coco = root / "COCO2017_unlabeled"
    draw(coco / "unlabeled2017", names)
    listed = [{"id": number, "file_name": name} for number, name in enumerate(names, start=1)]
    put(coco / "annotations" / "image_info_unlabeled2017.json", {"images": listed})
    query = {
        "id": 0,
        "reference_img_id": 1,
        "target_img_id": 2,
        "relative_caption": "at night",
        "shared_concept": "a lamp",
        "gt_img_ids": [2, 3],
        "semantic_aspects": [],
    }
    put(root / "annotations" / "val.json", [query])
    return root

"""Clip art by many artists, sorted into folders; folders that name one kind of thing become classes.

Clip artists draw one thing several times. Such drawings stay on one side of the split: they are grouped by their file
names and by their looks.
"""

import random
import re
import struct
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps

from .art import SIDE
from .by_eye import CLIPART_LEFT_OUT
from .packing import Suite, label_rows, webp

ARCHIVE = "openclipart.zip"
ROOT = "openclipart/usr/share/openclipart/png"
SEED = 0
TRAIN_SHARE, LEAST_TRAIN, VAL, LEAST_TEST = 0.5, 16, 4, 5
MOST = 120  # most images of one class
MOST_PIXELS = 40_000_000  # larger drawings are left out, because they only waste memory
MARGIN = 2  # pixels of white around a drawing
LEAST_INK = 0.015  # least mean darkness of a drawing; fainter ones cannot be seen at this size
ALIKE_BITS = 12  # two drawings whose outline hashes differ in at most so many of 256 bits count as one

# Class name -> folders; "/*" includes the folders inside.
FOLDERS = {
    "bird": ("animals/birds/*",),
    "insect": ("animals/bugs",),
    "mammal": ("animals/mammals/*",),
    "house": ("buildings/homes",),
    "drink": ("food/beverages/*",),
    "bread": ("food/breads_and_carbs",),
    "dessert": ("food/desserts",),
    "fruit": ("food/fruit",),
    "clothing": ("people/clothing", "people/clothing/hats"),
    "stick figure": ("people/stickmen",),
    "flower": ("plants/flowers",),
    "music": ("recreation/music/*",),
    "sport": ("recreation/sports",),
    "arrow": ("shapes/arrows",),
    "speech bubble": ("shapes/callouts",),
    "clock": ("signs_and_symbols/clocks",),
    "flag": ("signs_and_symbols/flags/*",),
    "weather": ("signs_and_symbols/weather",),
    "tool": ("tools",),
    "map": ("geography",),
    "office supplies": ("office",),
    "person": ("people",),
    "road sign": ("transportation/roadsigns",),
    "vehicle": ("transportation/vehicles/*",),
    "computer": ("computer/hardware",),
}
VARIANT_WORDS = frozenset({
    "bw", "colour", "color", "colored", "r", "md", "sm", "w", "outline", "contorno", "grey", "gray", "simple",
    "black", "white", "red", "green", "blue", "yellow", "orange", "purple", "pink", "brown",
})  # fmt: skip


def class_files(root: Path, folders: tuple[str, ...]) -> list[Path]:
    """PNG files of a class, sorted, without those known to show something else."""
    found: set[Path] = set()
    for folder in folders:
        pattern = "**/*.png" if folder.endswith("/*") else "*.png"
        found.update((root / folder.removesuffix("/*")).glob(pattern))
    return sorted(path for path in found if path.is_file() and not path.stem.startswith(CLIPART_LEFT_OUT))


def stem_key(path: Path) -> str:
    """Strip numbers and words for variants from a file's name: "flamand_bw_balin_01" -> "flamand balin"."""
    words = re.findall(r"[a-z]+", path.stem.lower())
    return " ".join(word for word in words if word not in VARIANT_WORDS)


def outline_hash(image: Image.Image) -> np.ndarray:
    """Hash (256,) bool: whether brightness grows from each cell of a 17 x 16 grid to the next.

    The hash is robust to size and colour.
    """
    cells = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX), np.int16)
    return (np.diff(cells, axis=1) > 4).ravel()


def group_alike(paths: list[Path], images: list[Image.Image]) -> list[list[int]]:
    """Group indices so that drawings with equal file-name stems, or similar looks, are together."""
    parent = list(range(len(paths)))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    first_of_stem: dict[str, int] = {}
    hashes = np.stack([outline_hash(image) for image in images])
    for index, path in enumerate(paths):
        parent[root(index)] = root(first_of_stem.setdefault(stem_key(path), index))
        for other in np.flatnonzero((hashes[:index] != hashes[index]).sum(axis=1) <= ALIKE_BITS):
            parent[root(index)] = root(int(other))
    groups = defaultdict(list)
    for index in range(len(paths)):
        groups[root(index)].append(index)
    return list(groups.values())


def split_groups(groups: list[list[int]], seed: str) -> dict[str, list[int]]:
    """Put whole groups on one side: large ones first into train and validation, the rest into test."""
    random.Random(seed).shuffle(groups)
    total = min(MOST, sum(len(group) for group in groups))
    wanted_train = max(LEAST_TRAIN, round(TRAIN_SHARE * (total - VAL)))
    seen: list[int] = []
    test: list[int] = []
    for group in sorted(groups, key=lambda group: len(group) <= 3):  # stable: equals keep their shuffled order
        if len(seen) < wanted_train + VAL:
            seen += group[: wanted_train + VAL - len(seen)]
        else:
            test += group[: total - wanted_train - VAL - len(test)]
    random.Random(seed).shuffle(seen)
    parts = {"train": seen[:wanted_train], "val": seen[wanted_train:], "test": test}
    return {name: sorted(indices) for name, indices in parts.items()}


def png_pixels(path: Path) -> int:
    """Width times height from the file's header, because PIL refuses to open the largest files at all."""
    with path.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return width * height


def draw_trimmed(path: Path) -> Image.Image | None:
    """Draw a file on white without its empty margins, 64 px; return None if hardly anything is drawn."""
    with Image.open(path) as stored:
        large = stored.convert("RGBA")
    large.thumbnail((1024, 1024), Image.Resampling.LANCZOS, reducing_gap=3.0)
    large = Image.alpha_composite(Image.new("RGBA", large.size, "white"), large).convert("RGB")
    box = ImageChops.difference(large, Image.new("RGB", large.size, "white")).convert("L").point(is_ink).getbbox()
    if box is None:
        return None
    fitted = ImageOps.contain(large.crop(box), (SIDE - 2 * MARGIN, SIDE - 2 * MARGIN), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    canvas.paste(fitted, ((SIDE - fitted.width) // 2, (SIDE - fitted.height) // 2))
    ink = np.asarray(ImageOps.invert(canvas.convert("L"))).mean() / 255
    return canvas if ink >= LEAST_INK else None


def is_ink(difference: int) -> int:
    """Return 255 or 0 for PIL's point tables: whether a pixel differs from white by more than noise."""
    return 255 if difference > 12 else 0


def read_images(root: Path) -> dict[str, list[tuple[Path, Image.Image]]]:
    """Map class name -> its drawings on white, 64 px; a file name in two classes belongs to neither."""
    classes = {name: class_files(root, folders) for name, folders in FOLDERS.items()}
    owners = defaultdict(set)
    for name, paths in classes.items():
        for path in paths:
            owners[path.name].add(name)
    read: dict[str, list[tuple[Path, Image.Image]]] = {}
    for name, paths in classes.items():
        read[name] = []
        for path in paths:
            if len(owners[path.name]) == 1 and png_pixels(path) <= MOST_PIXELS:
                drawing = draw_trimmed(path)
                if drawing is not None:
                    read[name].append((path, drawing))
    return read


def clipart_suite(work: Path) -> tuple[Suite, dict[str, bytes]]:
    """Make the clip-art data set and the members of its archive."""
    root = work / "raw" / ROOT
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    members = {}
    kept = []
    for name, drawings in sorted(read_images(root).items()):
        paths, images = [path for path, _ in drawings], [image for _, image in drawings]
        parts = split_groups(group_alike(paths, images), f"{SEED} {name}")
        if any(len(parts[part]) < n for part, n in (("train", LEAST_TRAIN), ("val", VAL), ("test", LEAST_TEST))):
            continue
        kept.append(name)
        for part, indices in parts.items():
            for index in indices:
                path = (
                    f"{name.replace(' ', '_')}/{paths[index].relative_to(root).as_posix().replace('/', '-')[:-4]}.webp"
                )
                members[path] = webp(images[index])
                rows[part].append((path, name))
    train, val, test = (label_rows(found, kept) for found in rows.values())
    families = {part: ["openclipart"] for part in rows}
    suite = Suite("openclipart", ARCHIVE, train, val, test, families, ["openclipart"])
    return suite, members

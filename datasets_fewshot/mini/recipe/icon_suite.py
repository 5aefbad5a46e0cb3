"""Icons of everyday things by many artists; each icon set is on one side of the split.

Pre-training saw icons of these things in other sets. Artists draw simple shapes alike, so a test drawing that nearly
equals one of those, or a training drawing, is left out.
"""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .art import draw_svg, icon_svg
from .icons import STYLES, style_rank, subject
from .packing import Suite, label_rows, on_white, webp
from .rasterise import icon_names
from .sources import HELD_OUT_ICONS

ARCHIVE = "icons.zip"
SEED = 0
SETS = {"train": 24, "val": 8}  # number of icon sets in a list; all other sets are for testing
LEAST = {"train": 16, "val": 4, "test": 8}
MOST_TRAIN = 24
FILLED = frozenset(STYLES[: STYLES.index("rounded")])  # the filled and the outlined icon of one set are two drawings
SAME = 0.975  # correlation of two drawings' darkness from which they count as one

# Class name -> its names in icon sets.
THINGS = {
    "battery": ("battery", "battery full"),
    "bell": ("bell", "notification"),
    "bicycle": ("bicycle", "bike"),
    "book": ("book",),
    "bookmark": ("bookmark",),
    "box": ("box", "package"),
    "briefcase": ("briefcase",),
    "bug": ("bug",),
    "building": ("building", "office building"),
    "bus": ("bus",),
    "calculator": ("calculator",),
    "calendar": ("calendar",),
    "camera": ("camera",),
    "car": ("car",),
    "clipboard": ("clipboard",),
    "clock": ("clock", "time"),
    "cloud": ("cloud",),
    "coffee cup": ("coffee", "cup", "mug"),
    "compass": ("compass",),
    "computer mouse": ("mouse", "computer mouse"),
    "credit card": ("credit card",),
    "crown": ("crown",),
    "document": ("file", "document", "file text"),
    "envelope": ("mail", "envelope", "email"),
    "eye": ("eye",),
    "fire": ("fire", "flame"),
    "flag": ("flag",),
    "folder": ("folder",),
    "funnel": ("filter", "funnel"),
    "gear": ("settings", "cog", "gear", "setting"),
    "gift": ("gift", "present"),
    "globe": ("globe", "world", "earth"),
    "hand": ("hand",),
    "headphones": ("headphones", "headphone", "headset"),
    "heart": ("heart",),
    "hourglass": ("hourglass",),
    "house": ("home", "house"),
    "key": ("key",),
    "keyboard": ("keyboard",),
    "laptop": ("laptop",),
    "leaf": ("leaf",),
    "light bulb": ("light bulb", "lightbulb", "bulb", "idea", "lamp"),
    "lightning": ("bolt", "lightning", "flash", "zap", "thunder", "lightning bolt"),
    "magnifying glass": ("search", "magnifying glass"),
    "map": ("map",),
    "map pin": ("location", "map pin", "marker", "map marker", "location pin"),
    "medal": ("medal", "award", "badge"),
    "megaphone": ("megaphone", "bullhorn"),
    "microphone": ("microphone", "mic"),
    "moon": ("moon",),
    "musical note": ("music", "music note", "musical note"),
    "padlock": ("lock", "padlock", "lock closed"),
    "palette": ("palette",),
    "paper plane": ("paper plane", "send", "paperplane"),
    "paperclip": ("paperclip", "attachment", "attach"),
    "pencil": ("pencil", "edit"),
    "person": ("user", "person"),
    "phone": ("phone",),
    "picture": ("image", "picture", "photo"),
    "printer": ("printer",),
    "puzzle piece": ("puzzle", "puzzle piece", "extension"),
    "rocket": ("rocket",),
    "scissors": ("scissors", "cut"),
    "shield": ("shield",),
    "shopping bag": ("shopping bag", "bag"),
    "shopping cart": ("shopping cart", "cart"),
    "smiley face": ("smile", "smiley", "face smile", "emoji"),
    "snowflake": ("snowflake", "snow"),
    "speech bubble": ("comment", "chat", "message", "chat bubble"),
    "star": ("star",),
    "store": ("store", "shop", "storefront"),
    "sun": ("sun",),
    "tag": ("tag", "price tag"),
    "television": ("tv", "television"),
    "thumbs up": ("thumbs up", "thumb up", "like"),
    "ticket": ("ticket",),
    "trash can": ("trash", "trash can", "bin", "delete"),
    "trophy": ("trophy",),
    "truck": ("truck",),
    "umbrella": ("umbrella",),
    "video camera": ("video", "video camera", "camcorder"),
    "wallet": ("wallet",),
    "water drop": ("droplet", "drop", "water drop", "water"),
    "wrench": ("wrench", "spanner", "tool", "tools"),
}


@dataclass(frozen=True)
class Drawing:
    """One drawing of a thing, from an icon set."""

    path: str  # path in the archive
    classname: str
    image: Image.Image

    @property
    def darkness(self) -> np.ndarray:
        """Darkness of the drawing at half size: (1024,) float32 with mean 0 and norm 1."""
        grey = np.asarray(self.image.convert("L").resize((32, 32), Image.Resampling.BOX), np.float32).ravel()
        centred = grey.mean() - grey
        return centred / max(float(np.linalg.norm(centred)), 1e-6)


def set_drawings(raw: Path, key: str) -> list[Drawing]:
    """A set's drawings of the things: at most one filled and one outlined drawing of each."""
    icons, _, defaults = icon_names(raw, key)
    names = defaultdict(list)
    for name in sorted(icons, key=style_rank):
        names[subject(name)].append(name)
    drawings = []
    for classname, words in THINGS.items():
        chosen: dict[bool, str] = {}
        for word in words:
            for name in names[word]:
                chosen.setdefault(bool(FILLED & set(name.split("-"))), name)
        for name in chosen.values():
            picture = draw_svg(icon_svg(icons[name], defaults))
            if picture[..., 3].any():
                drawings.append(Drawing(f"{key}/{name}.webp", classname, on_white(picture)))
    return drawings


def without_copies(drawings: list[Drawing], known: np.ndarray) -> list[Drawing]:
    """Drop the drawings that nearly equal one of `known` (N, 1024)."""
    shown = np.stack([drawing.darkness for drawing in drawings])
    return [
        drawing
        for drawing, nearest in zip(drawings, (shown @ known.T).max(axis=1), strict=True)
        if nearest < SAME
    ]  # fmt: skip


def pre_trained(work: Path) -> np.ndarray:
    """Darkness (N, 1024) of every drawing that pre-training saw."""
    pictures = np.load(work / "pretrain/images.npy", mmap_mode="r")
    return np.stack([Drawing("", "", on_white(picture)).darkness for picture in pictures])


def icon_suite(work: Path) -> tuple[Suite, dict[str, bytes]]:
    """Make the icon data set and the members of its archive."""
    keys = [source.key for source in HELD_OUT_ICONS]
    random.Random(SEED).shuffle(keys)
    ends = (SETS["train"], SETS["train"] + SETS["val"])
    sets = {"train": sorted(keys[: ends[0]]), "val": sorted(keys[ends[0] : ends[1]]), "test": sorted(keys[ends[1] :])}
    found = {part: [drawing for key in sets[part] for drawing in set_drawings(work / "raw", key)] for part in sets}
    learnt = np.stack([drawing.darkness for part in ("train", "val") for drawing in found[part]])
    found["test"] = without_copies(found["test"], np.concatenate([learnt, pre_trained(work)]))
    counts = {part: Counter(drawing.classname for drawing in drawings) for part, drawings in found.items()}
    kept = sorted(name for name in THINGS if all(counts[part][name] >= least for part, least in LEAST.items()))
    members: dict[str, bytes] = {}
    rows: dict[str, list[tuple[str, str]]] = {part: [] for part in sets}
    for part, drawings in found.items():
        taken: Counter[str] = Counter()
        for drawing in drawings:
            if drawing.classname in kept and (part != "train" or taken[drawing.classname] < MOST_TRAIN):
                taken[drawing.classname] += 1
                members[drawing.path] = webp(drawing.image)
                rows[part].append((drawing.path, drawing.classname))
    train, val, test = (label_rows(sorted(part, key=lambda row: row[::-1]), kept) for part in rows.values())
    suite = Suite("icons", ARCHIVE, train, val, test, sets, sorted(keys))
    return suite, members

"""Six data sets of emoji, one per group, and one of subgroups, from drawing families that pre-training never saw."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .emoji import Emoji, read_emoji
from .packing import Suite, label_rows, on_white, webp
from .sources import NAMES

ARCHIVE = "emoji.zip"
COLOUR_TRAIN = ("emojitwo", "noto-v1")
TRAIN_FAMILIES = ("emojitwo", "noto-v1", "emojitwo-mono", "symbola")
TEST_FAMILY = "twemoji"
GROUPS = {
    "emoji_animals": "animals-nature",
    "emoji_food": "food-drink",
    "emoji_travel": "travel-places",
    "emoji_activities": "activities",
    "emoji_objects": "objects",
    "emoji_smileys": "smileys-emotion",
}

SUBGROUP_TRAIN = ("emojitwo", "noto-v1", "emojitwo-mono")
SUBGROUP_VAL = "symbola"
LEAST = {"train": 16, "val": 4, "test": 8}  # fewest drawings of a subgroup that becomes a class
# emojibase's subgroups in natural words; a subgroup whose drawings share no look is left out.
SUBGROUPS = {
    "face-smiling": "smiling face",
    "face-affection": "loving face",
    "face-neutral-skeptical": "skeptical face",
    "face-unwell": "sick face",
    "face-concerned": "worried face",
    "face-costume": "fantasy creature",
    "cat-face": "cat face",
    "heart": "heart",
    "emotion": "comic symbol",
    "animal-mammal": "mammal",
    "animal-bird": "bird",
    "animal-reptile": "reptile",
    "animal-marine": "sea animal",
    "animal-bug": "insect",
    "plant-flower": "flower",
    "plant-other": "plant",
    "food-fruit": "fruit",
    "food-vegetable": "vegetable",
    "food-prepared": "meal",
    "food-asian": "asian food",
    "food-sweet": "dessert",
    "drink": "drink",
    "dishware": "dishware",
    "place-map": "map",
    "place-geographic": "landscape",
    "place-building": "building",
    "place-religious": "place of worship",
    "place-other": "city scene",
    "transport-ground": "land vehicle",
    "transport-water": "boat",
    "transport-air": "aircraft",
    "time": "clock",
    "sky-weather": "weather",
    "event": "celebration",
    "award-medal": "medal",
    "sport": "sports equipment",
    "game": "game",
    "arts-crafts": "arts and crafts",
    "clothing": "clothing",
    "sound": "sound",
    "music": "music",
    "musical-instrument": "musical instrument",
    "phone": "telephone",
    "computer": "computer",
    "light-video": "camera or light",
    "book-paper": "book",
    "money": "money",
    "mail": "mail",
    "writing": "pen or pencil",
    "office": "office supplies",
    "lock": "lock or key",
    "tool": "tool",
    "science": "scientific instrument",
    "medical": "medicine",
    "household": "household item",
}


@dataclass(frozen=True)
class Drawings:
    """All drawings of the held-out families: (family, hexcode) -> picture."""

    emoji: dict[str, Emoji]
    pictures: dict[tuple[str, str], np.ndarray]

    def has(self, family: str, hexcode: str) -> bool:
        return (family, hexcode) in self.pictures


def read_drawings(work: Path) -> Drawings:
    """Read the drawings that `rasterise` made."""
    pictures: dict[tuple[str, str], np.ndarray] = {}
    for family in (*TRAIN_FAMILIES, TEST_FAMILY):
        stem = work / "drawings" / family
        hexcodes = json.loads(stem.with_suffix(".json").read_text())
        for hexcode, picture in zip(hexcodes, np.load(stem.with_suffix(".npy")), strict=True):
            pictures.setdefault((family, hexcode), picture)
    return Drawings(read_emoji(work / "raw" / NAMES.key), pictures)


def member(family: str, hexcode: str) -> str:
    """Path of a picture in the archive."""
    return f"{family}/{hexcode.lower()}.webp"


def group_suite(name: str, drawings: Drawings) -> Suite:
    """Make a data set of a group, with a class per emoji drawn by both colour training families and the test family."""
    hexcodes = {
        entry.name: hexcode
        for hexcode, entry in drawings.emoji.items()
        if entry.group == GROUPS[name] and all(drawings.has(family, hexcode) for family in (*COLOUR_TRAIN, TEST_FAMILY))
    }
    classnames = sorted(hexcodes)
    train = [
        (member(family, hexcodes[classname]), classname)
        for classname in classnames
        for family in TRAIN_FAMILIES
        if drawings.has(family, hexcodes[classname])
    ]
    test = [(member(TEST_FAMILY, hexcodes[classname]), classname) for classname in classnames]
    return Suite(
        name,
        ARCHIVE,
        label_rows(train, classnames),
        [],
        label_rows(test, classnames),
        {"train": list(TRAIN_FAMILIES), "val": [], "test": [TEST_FAMILY]},
        [NAMES.key, *TRAIN_FAMILIES, TEST_FAMILY],
    )


def subgroup_suite(drawings: Drawings) -> Suite:
    """Make the data set of subgroups: a class is learnt from some families' drawings and tested on another's."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part, families in (("train", SUBGROUP_TRAIN), ("val", (SUBGROUP_VAL,)), ("test", (TEST_FAMILY,))):
        found[part] = [
            (member(family, hexcode), SUBGROUPS[entry.subgroup])
            for family in families
            for hexcode, entry in drawings.emoji.items()
            if entry.group in GROUPS.values() and entry.subgroup in SUBGROUPS and drawings.has(family, hexcode)
        ]
    counts = {part: Counter(classname for _, classname in rows) for part, rows in found.items()}
    kept = sorted(
        classname
        for classname in SUBGROUPS.values()
        if all(counts[part][classname] >= least for part, least in LEAST.items())
    )
    rows = {
        part: label_rows(sorted((row for row in found[part] if row[1] in kept), key=lambda row: row[::-1]), kept)
        for part in found
    }
    return Suite(
        "emoji_subgroups",
        ARCHIVE,
        rows["train"],
        rows["val"],
        rows["test"],
        {"train": list(SUBGROUP_TRAIN), "val": [SUBGROUP_VAL], "test": [TEST_FAMILY]},
        [NAMES.key, *SUBGROUP_TRAIN, SUBGROUP_VAL, TEST_FAMILY],
    )


def emoji_suites(work: Path) -> tuple[list[Suite], dict[str, bytes]]:
    """Make the seven data sets and the members of their one archive."""
    drawings = read_drawings(work)
    suites = [*(group_suite(name, drawings) for name in GROUPS), subgroup_suite(drawings)]
    used = {path for suite in suites for path, _, _ in (*suite.train, *suite.val, *suite.test)}
    members = {
        member(family, hexcode): webp(on_white(picture))
        for (family, hexcode), picture in drawings.pictures.items()
        if member(family, hexcode) in used
    }
    return suites, members

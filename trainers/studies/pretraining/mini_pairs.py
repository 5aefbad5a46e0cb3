"""The image-text pairs for training adaptkit-mini: the drawings of each step, and their words.

A name is drawn first and one of its drawings second, so that an emoji with nine renderings is not seen nine times as
often as an icon with one. A third of a batch comes from one group of emoji, because similar drawings are the useful
negatives.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FORBIDDEN_FAMILIES = frozenset(
    {"emojitwo", "emojitwo-mono", "twemoji", "noto-v1", "symbola"}
)  # the suite tests on these families
DEV_FAMILIES = ("fxemoji", "streamline")
DEV_NAMES = 150
EVALUATED_GROUPS = (
    "animals-nature",
    "food-drink",
    "travel-places",
    "activities",
    "objects",
    "smileys-emotion",
)
GROUP_WEIGHTS = {"people-body": 0.4, "symbols": 0.4, "flags": 0.15, None: 0.15}  # None: not an emoji; all others: 1
MONO_WEIGHT = 0.35
ICON_WEIGHT = 0.3
BARE_KINDS = frozenset({"animal-", "place-", "plant-", "food-fruit", "food-vegetable"})  # a mammal, a building, a fruit
TURNED_KINDS = frozenset({"face", "food", "transport"})  # "face-smiling" is a smiling face
FOCUS_SHARE = 0.33  # share of a batch that comes from one group

NAME_TEMPLATES = (
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of {}.",
    "a picture of a {}.",
    "an image of a {}.",
    "a drawing of a {}.",
    "a cartoon of a {}.",
    "an illustration of a {}.",
    "a small picture of a {}.",
    "an emoji of a {}.",
    "an icon of a {}.",
    "clip art of a {}.",
    "a sticker of a {}.",
    "this is a {}.",
    "a {}.",
    "{}.",
    "{}",
    "{}",
)
MONO_TEMPLATES = ("a black and white drawing of a {}.", "a sketch of a {}.", "a line drawing of a {}.")
KIND_TEMPLATES = ("{}, a kind of {}.", "a photo of a {}, a type of {}.", "{}: {}", "a photo of {}, {}.")


@dataclass(frozen=True)
class Pair:
    family: str
    mono: bool
    name: str
    keywords: tuple[str, ...]
    group: str | None
    subgroup: str | None
    hexcode: str | None
    source: str

    @property
    def flippable(self) -> bool:
        """Whether the drawing's name still fits when the drawing is mirrored."""
        words = self.name.replace("-", " ").split()
        directed = {"left", "right", "arrow", "button", "clock", "clockwise", "counterclockwise", "o’clock", "thirty"}
        return self.group not in ("symbols", "flags") and not directed.intersection(words)


def read_pairs(folder: Path) -> tuple[np.ndarray, list[Pair]]:
    """Read drawings (N, 64, 64, 4) uint8 RGBA, memory-mapped, and the words of each.

    Raises:
        ValueError: if the two files disagree, or hold a drawing family that is reserved for testing.
    """
    images = np.load(folder / "images.npy", mmap_mode="r")
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [Pair(**{**row, "name": tidy(row["name"]), "keywords": tuple(map(tidy, row["keywords"]))}) for row in rows]
    if images.shape != (len(pairs), 64, 64, 4) or images.dtype != np.uint8:
        raise ValueError(
            f"{folder}/images.npy is {images.shape} {images.dtype}, expected ({len(pairs)}, 64, 64, 4) uint8 to match "
            "pairs.jsonl; assemble both again"
        )
    if held := FORBIDDEN_FAMILIES.intersection(pair.family for pair in pairs):
        raise ValueError(f"{folder} holds {sorted(held)}, which the embedded suite tests on; assemble without them")
    return images, pairs


def tidy(text: str) -> str:
    """Spell a name like a class name of the suite: lower case, single spaces, no colons or underscores."""
    return " ".join(text.lower().replace(":", " ").replace("_", " ").split())


def hold_out(pairs: list[Pair], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on, and indices of development drawings: some emoji, in the two development families."""
    names = sorted({p.name for p in pairs if p.family in DEV_FAMILIES and p.group in EVALUATED_GROUPS})
    chosen = set(np.random.default_rng(seed).permutation(names)[:DEV_NAMES].tolist())
    held = np.array([p.family in DEV_FAMILIES and p.group in EVALUATED_GROUPS and p.name in chosen for p in pairs])
    return np.flatnonzero(~held), np.flatnonzero(held)


class PairSampler:
    """Draws the pairs of a batch and their labels, as a function of the generator it is given."""

    def __init__(self, pairs: list[Pair], indices: np.ndarray):
        self.pairs = pairs
        by_name: dict[str, list[int]] = {}
        for index in indices.tolist():
            by_name.setdefault(pairs[index].name, []).append(index)
        self.names = sorted(by_name)
        self.members = [np.array(by_name[name]) for name in self.names]
        self.member_weights = [_normalised([_pair_weight(pairs[i]) for i in rows]) for rows in self.members]
        groups = [self._group(rows) for rows in self.members]
        self.name_weights = _normalised([GROUP_WEIGHTS.get(group, 1.0) for group in groups])
        self.focus = [np.flatnonzero([group == focus for group in groups]) for focus in EVALUATED_GROUPS]
        self.focus = [names for names in self.focus if len(names)]

    def draw(self, batch_size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw indices of pairs (B,) and labels (B,), which are equal for equal names."""
        focused = int(FOCUS_SHARE * batch_size) if self.focus else 0
        labels = rng.choice(len(self.names), size=batch_size - focused, p=self.name_weights)
        if focused:
            names = self.focus[rng.integers(len(self.focus))]
            labels = np.concatenate([labels, rng.choice(names, size=focused)])
        chosen = [rng.choice(self.members[label], p=self.member_weights[label]) for label in labels]
        return np.array(chosen), labels

    def _group(self, rows: np.ndarray) -> str | None:
        return next((self.pairs[i].group for i in rows if self.pairs[i].group is not None), None)


def caption(pair: Pair, rng: np.random.Generator) -> str:
    """One of many possible captions of the drawing."""
    choice = rng.random()
    kind = kind_of(pair.subgroup) if pair.subgroup else None
    if choice < 0.04 and kind:
        return _pick(NAME_TEMPLATES, rng).format(kind)
    if choice < 0.11 and pair.keywords:
        return _pick(NAME_TEMPLATES, rng).format(_pick(pair.keywords, rng))
    if choice < 0.19 and kind:
        return _pick(KIND_TEMPLATES, rng).format(pair.name, kind)
    if choice < 0.27 and pair.keywords:
        return _pick(KIND_TEMPLATES, rng).format(pair.name, _pick(pair.keywords, rng))
    if choice < 0.50 and pair.mono:
        return _pick(MONO_TEMPLATES, rng).format(pair.name)
    return _pick(NAME_TEMPLATES, rng).format(pair.name)


def kind_of(subgroup: str) -> str:
    """Write a subgroup in natural words: "animal-mammal" is "mammal", "food-prepared" is "prepared food"."""
    head, *rest = subgroup.replace("-other", "").split("-")
    if rest and (f"{head}-" in BARE_KINDS or subgroup in BARE_KINDS):
        return " ".join(rest)
    return " ".join([*rest, head] if head in TURNED_KINDS else [head, *rest])


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[rng.integers(len(options))]


def _pair_weight(pair: Pair) -> float:
    return (MONO_WEIGHT if pair.mono else 1.0) * (ICON_WEIGHT if pair.family.startswith("icon-") else 1.0)


def _normalised(weights: list[float]) -> np.ndarray:
    return np.array(weights) / sum(weights)

"""Icons of general icon sets that are named like an emoji or one of its keywords: more drawings of the same words."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .art import icon_svg
from .emoji import Emoji, squash
from .rasterise import icon_names

# These words of an icon's name say how it is drawn, not what it shows; the leftmost style is preferred.
STYLES = (
    "color", "flat", "duotone", "duo", "twotone", "fill", "filled", "solid", "bold", "rounded", "sharp", "line",
    "linear", "outline", "outlined", "regular", "light", "thin", "broken", "stroke", "negative", "alt",
)  # fmt: skip
# These groups' keywords name things; keywords of symbols and flags are mostly interface words.
KEYWORD_GROUPS = frozenset(
    {"smileys-emotion", "animals-nature", "food-drink", "travel-places", "activities", "objects", "people-body"}
)
# Icons of these names show something other than the keyword (often a logo), or nothing.
MISLEADING = frozenset({
    "steam", "safari", "data", "medium", "alpha", "angle", "style", "tabs", "split", "compress", "slash", "vibrate",
    "transform", "focus", "zoom", "zip", "point", "horizontal", "left", "right", "down", "up", "open", "close",
    "move", "sort", "list", "text", "emoji", "shape", "record", "view", "save", "help", "file", "build", "contact",
    "assembly", "license", "push", "board", "room", "log", "block", "post", "body", "work", "like", "dislike",
    "safe",
})  # fmt: skip


@dataclass(frozen=True)
class Icon:
    """One icon to draw: its words, and the emoji of that name if there is one."""

    name: str
    svg: str
    emoji: Emoji | None


def subject(icon_name: str) -> str:
    """Strip style words, sizes and numbers from an icon's name: "cat-fill-24" -> "cat"."""
    words = [word for word in icon_name.split("-") if word not in STYLES]
    return " ".join(word for word in words if not re.fullmatch(r"\d+(px|x)?", word))


def style_rank(icon_name: str) -> tuple[int, int, str]:
    """Sort key of an icon: the best style first, then the largest size, then the name."""
    words = icon_name.split("-")
    ranks = [STYLES.index(word) for word in words if word in STYLES]
    sizes = [int(word) for word in words if word.isdigit()]
    return min(ranks, default=len(STYLES)), -max(sizes, default=0), icon_name


def vocabulary(emoji: Mapping[str, Emoji]) -> dict[str, tuple[str, Emoji | None]]:
    """Map squashed words -> (the words, the emoji of that name, or None for a keyword)."""
    words: dict[str, tuple[str, Emoji | None]] = {}
    for entry in emoji.values():
        if entry.group != "flags":
            words.setdefault(squash(entry.name), (entry.name, entry))
    for entry in emoji.values():
        if entry.group in KEYWORD_GROUPS:
            for keyword in entry.keywords:
                if len(squash(keyword)) > 2 and squash(keyword) not in MISLEADING:
                    words.setdefault(squash(keyword), (keyword, None))
    return words


def matching_icons(raw: Path, key: str, words: Mapping[str, tuple[str, Emoji | None]]) -> Iterator[Icon]:
    """Choose one icon per word that the set draws, in the order of the words' names."""
    icons, _, defaults = icon_names(raw, key)
    best: dict[str, str] = {}
    for name in sorted(icons, key=style_rank):
        if squash(subject(name)) in words:
            best.setdefault(squash(subject(name)), name)
    for squashed, name in sorted(best.items()):
        words_of_icon, entry = words[squashed]
        yield Icon(words_of_icon, icon_svg(icons[name], defaults), entry)


def is_mono(raw: Path, key: str) -> bool:
    """Whether the set's icons have one colour only."""
    return not json.loads((raw / key / "info.json").read_text())["palette"]

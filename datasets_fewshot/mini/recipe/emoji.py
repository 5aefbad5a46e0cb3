"""Read emojibase's facts on each emoji, and match the icons of a drawing family to emoji."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SKIN_TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}


@dataclass(frozen=True)
class Emoji:
    """One emoji: its code points in hexadecimal without FE0F, English name, keywords, group and subgroup."""

    hexcode: str
    name: str
    keywords: tuple[str, ...]
    group: str
    subgroup: str
    order: int  # emojibase's order, with related emoji beside each other

    @property
    def character(self) -> str:
        return "".join(chr(int(code, 16)) for code in self.hexcode.split("-"))


def plain_hexcode(hexcode: str) -> str:
    """Code points in upper case and without variation selectors, which only some vendors write."""
    return "-".join(part for part in hexcode.upper().split("-") if part != "FE0F")


def plain_name(label: str) -> str:
    """Rewrite an emojibase label in natural lower-case words: "flag: France" -> "france flag"."""
    label = unicodedata.normalize("NFKC", label).replace("’", "'")
    label = re.sub(r"[“”()]", "", label)
    label = re.sub(r"^flag: (.*)$", r"\1 flag", label)
    return re.sub(r"\s+", " ", label.replace(":", "").replace(",", "")).strip().lower()


def squash(name: str) -> str:
    """Strip case, accents, spaces and hyphens from a name, so that the icon names of all sets compare."""
    decomposed = unicodedata.normalize("NFKD", name.lower().replace("&", "and"))
    return re.sub(r"[^a-z0-9]", "", decomposed)


def read_emoji(folder: Path) -> dict[str, Emoji]:
    """Read all emoji of an unpacked emojibase-data package that have a group, by hexcode."""
    groups = json.loads((folder / "meta/groups.json").read_text())
    found = {}
    for entry in json.loads((folder / "en/data.json").read_text()):
        if "group" not in entry or groups["groups"][str(entry["group"])] == "component":
            continue
        hexcode = plain_hexcode(entry["hexcode"])
        found[hexcode] = Emoji(
            hexcode,
            plain_name(entry["label"]),
            tuple(plain_name(tag) for tag in entry.get("tags", ())),
            groups["groups"][str(entry["group"])],
            groups["subgroups"][str(entry["subgroup"])],
            entry["order"],
        )
    return found


def name_index(folder: Path, emoji: Mapping[str, Emoji], tables: Iterable[Mapping[str, str]] = ()) -> dict[str, str]:
    """Map squashed name -> hexcode, from Unicode's names, emojibase's labels, `tables` and shortcodes; the first wins.

    Args:
        folder: the unpacked emojibase-data package.
        emoji: the emoji that may be matched, by hexcode.
        tables: hexcode -> icon name, from icon sets with a character table.
    """
    index: dict[str, str] = {}
    for hexcode, entry in emoji.items():
        index.setdefault(squash(entry.name), hexcode)
    for hexcode, entry in emoji.items():
        if len(entry.character) == 1:
            index.setdefault(squash(unicodedata.name(entry.character, "")), hexcode)
    for table in tables:
        for hexcode, name in table.items():
            if plain_hexcode(hexcode) in emoji:
                index.setdefault(squash(name), plain_hexcode(hexcode))
    for preset in ("cldr", "emojibase-legacy", "joypixels", "iamcal", "github"):
        for hexcode, names in json.loads((folder / f"en/shortcodes/{preset}.json").read_text()).items():
            for name in [names] if isinstance(names, str) else names:
                if plain_hexcode(hexcode) in emoji:
                    index.setdefault(squash(name), plain_hexcode(hexcode))
    index.pop("", None)
    return index


def flag_index(emoji: Mapping[str, Emoji]) -> dict[str, str]:
    """Map a lower-case country code -> hexcode of the flag."""
    index = {"gb-eng": "1F3F4-E0067-E0062-E0065-E006E-E0067-E007F"}
    for hexcode, entry in emoji.items():
        letters = [ord(character) - 0x1F1E6 for character in entry.character]
        if entry.subgroup == "country-flag" and len(letters) == 2:
            index["".join(chr(ord("a") + letter) for letter in letters)] = hexcode
    return {code: hexcode for code, hexcode in index.items() if hexcode in emoji}

"""Draw every emoji of every drawing family once: WORK/drawings/<key>.npy (N, 64, 64, 4) and <key>.json (hexcodes).

python -m datasets_fewshot.mini.recipe.rasterise --work WORK

This step needs resvg_py and fonttools. 21,000 drawings took 35 s on 2 CPU cores.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont

from .art import draw_glyph, draw_picture, draw_svg, icon_svg
from .by_eye import BY_EYE
from .emoji import Emoji, flag_index, name_index, plain_hexcode, read_emoji, squash
from .sources import HELD_OUT, NAMES, TRAIN

FONTS = {
    "noto-mono": "400Regular/NotoEmoji_400Regular.ttf",
    "symbola": "usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf",
}
TABLES = ("noto", "twemoji", "fluent-flat")  # sets whose character tables also name icons of the sets without one
FLAGS = {"circle-flags": "{}", "flag": "{}-4x3", "cif": "{}"}
Drawn = tuple[str, np.ndarray]  # (hexcode, picture)


def icon_names(raw: Path, key: str) -> tuple[dict[str, dict[str, str | int]], dict[str, str], dict[str, str | int]]:
    """Read an iconify set's visible icons, its character table (hexcode -> name) and its default sizes."""
    data = json.loads((raw / key / "icons.json").read_text())
    characters = json.loads((raw / key / "chars.json").read_text())
    icons = {name: icon for name, icon in data["icons"].items() if not icon.get("hidden")}
    for alias, entry in data.get("aliases", {}).items():
        if entry.keys() == {"parent"} and entry["parent"] in icons:
            icons.setdefault(alias, icons[entry["parent"]])
    return icons, characters, {side: data[side] for side in ("width", "height", "left", "top") if side in data}


def match_icons(raw: Path, key: str, emoji: dict[str, Emoji]) -> dict[str, list[str]]:
    """Map hexcode -> names of the icons that draw it, by the set's character table if it has one, else by name."""
    icons, characters, _ = icon_names(raw, key)
    if key in FLAGS:
        return {hexcode: [FLAGS[key].format(code)] for code, hexcode in flag_index(emoji).items()}
    if characters:
        return {plain_hexcode(hexcode): [name] for hexcode, name in characters.items()}
    tables = [json.loads((raw / table / "chars.json").read_text()) for table in TABLES]
    index = name_index(raw / NAMES.key, emoji, tables)
    matches: dict[str, list[str]] = {}
    corrections = BY_EYE.get(key, {})
    for name in sorted(icons, key=lambda name: (name not in corrections, len(name), name)):
        words = corrections.get(name, name)
        if words is None:
            continue
        hexcode = index.get(squash(words)) or index.get(squash(re.sub(r"-\d+$", "", words)))
        if hexcode:
            matches.setdefault(hexcode, []).append(name)
    return matches if key == "streamline" else {hexcode: names[:1] for hexcode, names in matches.items()}


def draw_family(raw: Path, key: str, emoji: dict[str, Emoji]) -> Iterator[Drawn]:
    """Yield every emoji that the family draws, in emojibase's order."""
    if key in FONTS:
        font = raw / key / FONTS[key]
        known = TTFont(font).getBestCmap()
        for hexcode, entry in emoji.items():
            if len(entry.character) == 1 and ord(entry.character) in known:
                yield hexcode, draw_glyph(font, entry.character)
    elif key == "fluent-3d":
        files = {plain_hexcode(path.stem): path for path in sorted((raw / key / "assets").glob("*.webp"))}
        for hexcode in emoji:
            if hexcode in files:
                yield hexcode, draw_picture(files[hexcode])
    else:
        icons, _, defaults = icon_names(raw, key)
        matches = match_icons(raw, key, emoji)
        for hexcode in emoji:
            for name in matches.get(hexcode, ()):
                if name in icons:
                    yield hexcode, draw_svg(icon_svg(icons[name], defaults))


def rasterise(work: Path, key: str, emoji: dict[str, Emoji]) -> int:
    """Draw one family into WORK/drawings and return how many drawings are not empty."""
    drawn = [(hexcode, picture) for hexcode, picture in draw_family(work / "raw", key, emoji) if picture[..., 3].any()]
    folder = work / "drawings"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{key}.npy", np.stack([picture for _, picture in drawn]))
    (folder / f"{key}.json").write_text(json.dumps([hexcode for hexcode, _ in drawn]))
    return len(drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="the folder that `fetch` filled")
    work = parser.parse_args().work
    emoji = read_emoji(work / "raw" / NAMES.key)
    for source in (*TRAIN, *HELD_OUT):
        if source.key not in ("openclipart", "fashion-mnist"):
            print(source.key, rasterise(work, source.key, emoji), flush=True)


if __name__ == "__main__":
    main()

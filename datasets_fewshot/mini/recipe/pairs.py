"""Collect the image-text pairs that the embedded model is pre-trained on: WORK/pretrain/images.npy, pairs.jsonl.

    python -m datasets_fewshot.mini.recipe.pairs --work WORK

Image i is a 64 x 64 RGBA drawing with straight alpha; line i of pairs.jsonl describes it, and WORK/pretrain/drawings
has it as a PNG, for `adaptkit das distill`. Only families of `sources.TRAIN` and icons of `sources.ICONS` are used,
never a drawing of a few-shot data set. NOTICE.md names their authors. 19,295 pairs took 35 s on 2 CPU cores.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .art import draw_svg
from .emoji import Emoji, read_emoji
from .icons import is_mono, matching_icons, vocabulary
from .sources import ICONS, NAMES, TRAIN, Source

MONO = frozenset({"noto-mono", "fluent-mono"})
Pair = dict[str, str | bool | list[str] | None]


def pair(source: Source, mono: bool, name: str, emoji: Emoji | None, *, is_emoji: bool) -> Pair:
    """Describe one picture as a line of pairs.jsonl; an icon has no hexcode, even if an emoji has its name."""
    return {
        "family": source.key,
        "mono": mono,
        "name": name,
        "keywords": list(emoji.keywords) if emoji else [],
        "group": emoji.group if emoji else None,
        "subgroup": emoji.subgroup if emoji else None,
        "hexcode": emoji.hexcode if emoji and is_emoji else None,
        "source": source.label,
    }


def emoji_pairs(work: Path, emoji: dict[str, Emoji]) -> Iterator[tuple[np.ndarray, Pair]]:
    """Yield every drawing of the pre-training families with its description."""
    for source in TRAIN:
        pictures = np.load(work / "drawings" / f"{source.key}.npy", mmap_mode="r")
        hexcodes = json.loads((work / "drawings" / f"{source.key}.json").read_text())
        for picture, hexcode in zip(pictures, hexcodes, strict=True):
            entry = emoji[hexcode]
            yield picture, pair(source, source.key in MONO, entry.name, entry, is_emoji=True)


def icon_pairs(work: Path, emoji: dict[str, Emoji]) -> Iterator[tuple[np.ndarray, Pair]]:
    """Yield every icon that is named like an emoji or a keyword, with its description."""
    words = vocabulary(emoji)
    for source in ICONS:
        mono = is_mono(work / "raw", source.key)
        for icon in matching_icons(work / "raw", source.key, words):
            picture = draw_svg(icon.svg)
            if picture[..., 3].any():
                yield picture, pair(source, mono, icon.name, icon.emoji, is_emoji=False)


def notice() -> str:
    """List the sources of the pairs with authors and licences, as a Markdown table."""
    rows = [f"| {entry.label} | {entry.authors} | {entry.licence} |" for entry in (NAMES, *TRAIN, *ICONS)]
    return "\n".join(["| package | authors | licence |", "|---|---|---|", *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="the folder that `fetch` and `rasterise` filled")
    work = parser.parse_args().work
    emoji = read_emoji(work / "raw" / NAMES.key)
    collected = [*emoji_pairs(work, emoji), *icon_pairs(work, emoji)]
    folder = work / "pretrain"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", np.stack([picture for picture, _ in collected]))
    (folder / "drawings").mkdir(exist_ok=True)
    for index, (picture, _) in enumerate(collected):
        Image.fromarray(picture).save(folder / "drawings" / f"{index:05d}.png")
    lines = [json.dumps(line, ensure_ascii=False) for _, line in collected]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "NOTICE.md").write_text(notice())
    (folder / "DONE").write_text(f"{len(collected)}\n")  # written last, so that everything before it is complete
    print(len(collected), "pairs")


if __name__ == "__main__":
    main()

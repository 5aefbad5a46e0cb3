"""What clip artists wrote of their drawings: titles, descriptions and keywords, from the metadata of the SVG files.

Many titles name a collection, a file or its author rather than what is drawn, and some are not in English. A drawing
is described by its title only where the title agrees with the file's name and is made of words that others use, too.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .by_eye import CLIPART_TITLES_LEFT_OUT
from .clipart import ROOT, VARIANT_WORDS
from .emoji import squash

SVG_ROOT = ROOT.replace("openclipart/", "openclipart-svg/", 1).replace("/png", "/svg")
MOST_ALIKE = 6  # drawings with one title; a title of more names a series
LEAST_USES = 3  # of a word in the keywords of all files, from which it counts as English
SMALL_WORDS = frozenset({
    "a", "an", "and", "at", "by", "cut", "for", "from", "half", "in", "into", "left", "no", "of", "off", "on", "or",
    "right", "the", "to", "two", "up", "with",
})  # fmt: skip
# A title or description with one of them says where a drawing comes from, not what it shows.
NOT_OF_THE_DRAWING = frozenset({
    "architetto", "art", "author", "bug", "buculei", "clip", "clipart", "cliparts", "clker", "created", "drawn", "file",
    "hash", "icon", "icons", "image", "inkscape", "openclipart", "picture", "png", "signs", "sodipodi", "svg",
    "symbols", "unsorted", "untitled", "various", "version", "webpage",
})  # fmt: skip
# Keywords that say nothing of the drawing, or are misspelt.
SAY_NOTHING = frozenset({
    "appicon", "automne", "mapsym", "menu", "mimeicon", "musicstuff", "noze", "shape", "sign", "symbol", "tools",
    "united nations member", "vegitable",
})  # fmt: skip


@dataclass(frozen=True)
class ClipartText:
    """The words of one drawing, in lower case."""

    title: str
    description: str  # empty where there is none, or none of the drawing
    keywords: tuple[str, ...]


def read_clipart_texts(work: Path, english: Iterable[str]) -> dict[str, ClipartText]:
    """File name without ending, folders joined by "-", as in the embedded archive -> the words of the drawing.

    Args:
        english: words that are known to be English.
    """
    root = work / "raw" / SVG_ROOT
    written = {
        path.relative_to(root).with_suffix("").as_posix().replace("/", "-"): path.read_text(errors="replace")
        for path in sorted(root.rglob("*.svg"))
    }
    keywords = {name: _keywords(svg) for name, svg in written.items()}
    uses = Counter(word for own in keywords.values() for keyword in own for word in keyword.split())
    known = SMALL_WORDS | set(english) | {word for word, count in uses.items() if count >= LEAST_USES}
    titles = {name: plain_title(_tag("dc:title", svg)) for name, svg in written.items()}
    alike = Counter(titles.values())
    texts = {}
    for name, svg in written.items():
        title = titles[name]
        if alike[title] <= MOST_ALIKE and _agrees(title, name, known):
            description = plain_title(_tag("dc:description", svg))
            is_sound = 2 <= len(description.split()) <= 14 and description != title and _is_english(description, known)
            own = tuple(keyword for keyword in keywords[name] if _is_english(keyword, known) and keyword != title)
            texts[name] = ClipartText(title, description if is_sound else "", own)
    return texts


def plain_title(written: str) -> str:
    """A title in lower-case words, without numbers and variants: "PaintRoller_02 (B and W)" -> "paint roller"."""
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", html.unescape(written)).lower()
    text = re.sub(r"\(?\bb ?(?:and|&) ?w\b\)?", " ", text)
    words = re.sub(r"[^a-z' ]+", " ", text.replace("’", "'")).split()
    while words and (words[-1] in VARIANT_WORDS or len(words[-1]) == 1):
        words.pop()
    return " ".join(word.strip("'") for word in words if word.strip("'"))


def _agrees(title: str, name: str, known: frozenset[str] | set[str]) -> bool:
    fits = 3 <= len(title) <= 50 and squash(title)[:10] in squash(name.rpartition("-")[2] or name)
    return fits and _is_english(title, known) and title not in CLIPART_TITLES_LEFT_OUT


def _is_english(text: str, known: frozenset[str] | set[str]) -> bool:
    words = text.split()
    return all(word in known for word in words) and not NOT_OF_THE_DRAWING.intersection(words)


def _tag(name: str, svg: str) -> str:
    work = svg[svg.find("<cc:Work") :] if "<cc:Work" in svg else ""
    found = re.search(rf"<{name}>(.*?)</{name}>", work, re.DOTALL)
    return found.group(1).strip() if found else ""


def _keywords(svg: str) -> list[str]:
    listed = re.findall(r"<rdf:li>(.*?)</rdf:li>", _tag("dc:subject", svg), re.DOTALL)
    plain = (" ".join(html.unescape(word).replace("_", " ").lower().split()) for word in listed)
    return list(
        dict.fromkeys(word for word in plain if re.fullmatch(r"[a-z][a-z ]+", word) and word not in SAY_NOTHING)
    )

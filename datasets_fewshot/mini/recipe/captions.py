"""Write the embedded image-text pairs, mini/pairs.json: captions of drawings that the archives hold already.

    python -m datasets_fewshot.mini.recipe.captions --work WORK

Run `fetch` before, and `assemble` where the archives are to change. Pre-training saw none of the drawings. A thing,
however often it is drawn, is in one part, and no drawing that an embedded data set tests on is in the train part:
there, emoji are of the families EmojiTwo and Noto, and those for validation and testing are Twemoji's. Clip art that
names an emoji, such as "martini glass" beside "glass", is of the emoji's thing. This step took 3 s on one core.
"""

import argparse
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_fewshot.images.archives import list_members
from datasets_fewshot.images.read import load_image

from .assemble import HERE, checksums
from .by_eye import KEYWORDS_LEFT_OUT
from .clipart import ARCHIVE as CLIPART
from .clipart import group_alike
from .clipart_texts import ClipartText, read_clipart_texts
from .emoji import Emoji, plain_hexcode, plain_name, read_emoji, squash
from .emoji_suites import ARCHIVE as EMOJI
from .emoji_suites import COLOUR_TRAIN, SUBGROUPS, TEST_FAMILY, member
from .sources import NAMES

TRAIN, VAL = 0.78, 0.07  # shares of the things that may be learnt of; the rest is for testing
VAL_OF_HELD = 0.3  # share of the things that a data set tests on; the rest is for testing
MOST = 5  # captions of a drawing
MOST_WORDS, LONGEST_WORD = 3, 12  # keywords in a caption, and their letters: short captions fit into 24 tokens
SHORTCODES = ("cldr", "joypixels", "emojibase", "iamcal")  # where another name of an emoji may stand


@dataclass(frozen=True)
class Drawing:
    """A picture of an archive, and its captions."""

    path: str  # archive and member
    captions: tuple[str, ...]
    title: str
    is_held: bool  # whether a data set tests on it


def emoji_captions(emoji: Emoji, other_name: str | None) -> tuple[str, ...]:
    """Captions from an emoji's name, its subgroup, its keywords, another name that people use for it, and its group."""
    name, kind = emoji.name, SUBGROUPS.get(emoji.subgroup, "")
    more = [word for word in emoji.keywords if word not in name and name not in word and word.isascii()]
    more = [word for word in more if word != kind and _is_shown(word)]
    captions = [f"a drawing of {with_article(name)}"]
    if kind and kind != name:
        captions.append(f"{name}, a kind of {kind}")
    if more:
        captions.append(f"{name}: {', '.join(more[:MOST_WORDS])}")
    if len(more) > 1:
        captions.append(f"a picture about {_and([word for word in (kind, *more[-MOST_WORDS:]) if word])}")
    if other_name:
        captions.append(f"a cartoon of {with_article(other_name)}")
    captions.append(f"an emoji of {with_article(name)} among {emoji.group.replace('-', ' and ')}")
    return tuple(captions[:MOST])


def clipart_captions(text: ClipartText, classname: str) -> tuple[str, ...]:
    """Captions from the title, the description and the keywords of clip art, and the class of its folder."""
    is_country = classname == "flag" and "flag" not in text.title
    title = f"{text.title} flag" if is_country else text.title
    more = [word for word in text.keywords if word not in title and classname not in word and _is_shown(word)]
    captions = [f"clip art of {'the ' + title if is_country else with_article(title)}"]
    if text.description:
        captions.append(text.description)
    if classname not in title:
        captions.append(f"{classname}: {title}")
    if more:
        captions.append(f"{title}, {_and(more[:MOST_WORDS])}")
    if len(more) > 1:
        captions.append(f"a picture about {_and([classname, *more[-MOST_WORDS:]])}")
    return tuple(captions[:MOST])


def _is_shown(keyword: str) -> bool:
    has_digits = any(letter.isdigit() for letter in keyword)
    return not has_digits and len(keyword) <= LONGEST_WORD and keyword not in KEYWORDS_LEFT_OUT


def with_article(name: str) -> str:
    """The name with "a" or "an", unless it begins with an article or a number, or its thing looks like a plural."""
    thing = re.split(r" (?:and|at|behind|in|of|on|over|showing|with) ", name)[0]
    is_plural = thing.endswith("s") and not thing.endswith(("ss", "us"))
    if is_plural or name.split()[0] in ("a", "an", "the", "two", "three", "no", "my"):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def other_names(folder: Path, emoji: Mapping[str, Emoji]) -> dict[str, str]:
    """Hexcode -> a name beside emojibase's own, from the shortcodes of others, that is no other emoji's."""
    names = {squash(entry.name) for entry in emoji.values()}
    found: dict[str, str] = {}
    for preset in SHORTCODES:
        for hexcode, codes in json.loads((folder / f"en/shortcodes/{preset}.json").read_text()).items():
            entry = emoji.get(plain_hexcode(hexcode))
            for code in [codes] if isinstance(codes, str) else codes:
                name = plain_name(code.replace("_", " "))
                if entry and squash(name) not in names and _is_other(name, entry.name):
                    found.setdefault(entry.hexcode, name)
    return found


def _is_other(name: str, own: str) -> bool:
    """Whether a name says more than some words of an emoji's own name, and names a thing."""
    is_plain = name.replace(" ", "").isalpha() and len(name) > 3 and not name.endswith("ing")
    return is_plain and not set(name.split()) <= set(own.replace("-", " ").split())


def emoji_drawings(work: Path, emoji: Mapping[str, Emoji], images: Path) -> dict[str, list[Drawing]]:
    """Thing -> its drawings, those for training first."""
    members = set(list_members(images / EMOJI))
    others = other_names(work / "raw" / NAMES.key, emoji)
    drawings: dict[str, list[Drawing]] = {}
    for hexcode, entry in emoji.items():
        captions = emoji_captions(entry, others.get(hexcode))
        for family in (*COLOUR_TRAIN, TEST_FAMILY):
            if (path := member(family, hexcode)) in members:
                own = drawings.setdefault(entry.name, [])
                own.append(Drawing(f"{EMOJI}/{path}", captions, entry.name, family == TEST_FAMILY))
    return drawings


def clipart_drawings(work: Path, emoji: Mapping[str, Emoji], images: Path, tested: set[str]) -> list[Drawing]:
    """Clip art with a title of its own."""
    english = {word for entry in emoji.values() for text in (entry.name, *entry.keywords) for word in text.split()}
    texts = read_clipart_texts(work, english)
    drawings = []
    for path in list_members(images / CLIPART):
        folder, _, name = path.removesuffix(".webp").partition("/")
        if name in texts:
            captions = clipart_captions(texts[name], folder.replace("_", " "))
            drawings.append(Drawing(f"{CLIPART}/{path}", captions, texts[name].title, path in tested))
    return drawings


def join_things(
    emoji: Mapping[str, list[Drawing]], clipart: Sequence[Drawing], images: Path
) -> dict[str, list[Drawing]]:
    """Thing -> all its drawings: clip art joins the emoji that its title names, and clip art of its title or looks."""
    above = {name: name for name in (*emoji, *(thing_of(drawing.title, emoji) for drawing in clipart))}

    def root(name: str) -> str:
        while above[name] != name:
            name = above[name]
        return name

    looks = [load_image(images / drawing.path) for drawing in clipart]
    for alike in group_alike([Path(drawing.path) for drawing in clipart], looks):
        first, *others = sorted({root(thing_of(clipart[index].title, emoji)) for index in alike})
        above |= {other: first for other in others}
    joined: dict[str, list[Drawing]] = defaultdict(list)
    for name, own in emoji.items():
        joined[root(name)] += own
    for drawing in clipart:
        joined[root(thing_of(drawing.title, emoji))].append(drawing)
    return joined


def thing_of(title: str, emoji: Mapping[str, list[Drawing]]) -> str:
    """The longest name of an emoji that a title has as whole words, else the title."""
    named = [name for name in emoji if f" {name} " in f" {title} "]
    return max(named, key=len, default=title)


def part_of_thing(name: str, drawings: Sequence[Drawing]) -> str:
    """The part of a thing, from the hash of its name; one that a data set tests on is not learnt of."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    is_held = all(drawing.is_held for drawing in drawings) or any(
        drawing.is_held and drawing.path.startswith(CLIPART) for drawing in drawings
    )
    if is_held:
        return "val" if place < VAL_OF_HELD else "test"
    return "train" if place < TRAIN else "val" if place < TRAIN + VAL else "test"


def chosen(drawings: Sequence[Drawing], part: str) -> list[Drawing]:
    """The drawings that a part has of a thing: those that no data set tests on, or one for every title."""
    if part == "train":
        return [drawing for drawing in drawings if not drawing.is_held]
    shown = [drawing for drawing in drawings if drawing.is_held or drawing.path.startswith(CLIPART)] or list(drawings)
    return list({drawing.title: drawing for drawing in reversed(shown)}.values())[::-1]


def rows(things: Mapping[str, Sequence[Drawing]]) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """(thing, part, captions, paths) for drawings of one thing with the same captions; captions name one thing only."""
    owners: dict[str, set[str]] = defaultdict(set)
    for name, drawings in things.items():
        for drawing in drawings:
            for caption in drawing.captions:
                owners[caption].add(name)
    for name, drawings in sorted(things.items()):
        part = part_of_thing(name, drawings)
        alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for drawing in chosen(drawings, part):
            alike[tuple(text for text in drawing.captions if len(owners[text]) == 1)].append(drawing.path)
        yield from ((name, part, list(captions), paths) for captions, paths in alike.items() if captions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="the folder that `fetch` filled")
    parser.add_argument("--out", type=Path, default=HERE, help="where the data sets lie; by default in the package")
    options = parser.parse_args()
    emoji, images = read_emoji(options.work / "raw" / NAMES.key), options.out / "images"
    split = json.loads((options.out / "splits" / "openclipart.json").read_text(encoding="utf-8"))
    tested = {path for path, _, _ in split["test"]}
    clipart = clipart_drawings(options.work, emoji, images, tested)
    found = list(rows(join_things(emoji_drawings(options.work, emoji, images), clipart, images)))
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in found)
    (options.out / "pairs.json").write_text(f"[{lines}]\n", encoding="utf-8")
    (options.out / "SHA256SUMS").write_text(checksums(options.out))
    for part in ("train", "val", "test"):
        own = [row for row in found if row[1] == part]
        print(part, len({row[0] for row in own}), "things,", sum(len(row[3]) for row in own), "drawings")


if __name__ == "__main__":
    main()

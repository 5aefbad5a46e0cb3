"""Write the embedded pair tests, mini/pair_tests.jsonl, from the test part of the embedded pairs.

    python -m datasets_fewshot.mini.recipe.pair_tests

Every line is an item: a drawing with true and false texts, or two drawings with a text each. Texts are made by rule
from the captions in mini/pairs.json, and a false one is false as far as the sources tell:

    colour       the title says a colour, and three false texts say others; titles whose colour is a name are left out
    object       five other things of the same group of emoji and of other kinds, such as a bird for a mammal; no faces,
                 whose moods are a matter of opinion
    kind         a kind of another group, such as a tool for a mammal; groups that could share a thing are not paired
    country      the flags of five other countries
    two_texts    two true texts in different words (two names of one emoji), one false text as for `object`
    image_pairs  two drawings of one kind

Wherever a thing stands in for another, no caption of the one has a word in common with a caption of the other, but for
the words of the sentences, of kinds and of groups, and words that very many things have. Which thing stands in is told
by a hash. This step took 1 s on one core.
"""

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .assemble import HERE, checksums

NAME = "pair_tests.jsonl"


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without the plural's s."""
    return [word.removesuffix("s") for word in re.findall(r"[a-z']+", text.lower())]


COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white", "pink", "grey")
NOT_COLOURED = ("leafy green", "orange slice", "white cane", "light blue heart", "blue girl")  # by eye
SENTENCES = frozenset(words_of("a an the of and or among about kind drawing picture cartoon emoji clip art"))
MANY = 5  # false texts of a drawing, where things of other kinds are named
FREQUENT = 8  # things that a word is said of, for it to say nothing of any of them
FALSE_KINDS = {  # group -> a group that has none of its things
    "animals and nature": "objects",
    "objects": "animals and nature",
    "food and drink": "travel and places",
    "travel and places": "food and drink",
    "activities": "food and drink",
    "smileys and emotion": "travel and places",
}
# Names that hold for drawings of other things, too: of a wider kind, or of a part; by eye.
WIDE = ("bug", "ship", "bird", "house", "wedding", "sparkles", "keyboard", "wing", "feather", "paw prints", "wood")
VAGUE = ("heart", "sound", "weather", "plant", "music", "map")  # kinds that drawings of other things have, too

Item = dict[str, Any]


@dataclass(frozen=True)
class Thing:
    """A drawing of the test part with what its captions say."""

    path: str
    captions: tuple[str, ...]
    thing: str

    @cached_property
    def title(self) -> str:
        """What the first caption names, with its article."""
        return re.sub(r"^(a drawing of|clip art of) ", "", self.captions[0])

    @cached_property
    def is_emoji(self) -> bool:
        return self.captions[0].startswith("a drawing of ")

    @cached_property
    def kind(self) -> str:
        return self._said(r".*, a kind of (.+)")

    @cached_property
    def group(self) -> str:
        return self._said(r"an emoji of .+ among (.+)")

    @cached_property
    def other_name(self) -> str:
        """The caption with another name that people use; empty where there is none."""
        return next((text for text in self.captions if text.startswith("a cartoon of ")), "")

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of all captions, but for those that stand in every one of them."""
        return frozenset(word for text in self.captions for word in words_of(text)) - SENTENCES

    def _said(self, pattern: str) -> str:
        return next((found[1] for text in self.captions if (found := re.fullmatch(pattern, text))), "")


class Rules:
    """The rules over all things of a test part."""

    def __init__(self, things: Sequence[Thing]):
        self.things = things
        self.emoji = [thing for thing in self.things if thing.is_emoji and thing.kind]
        self.named = [
            thing
            for thing in self.emoji
            if not thing.kind.endswith("face") and re.sub("^an? ", "", thing.title) not in WIDE
        ]
        groups: dict[str, Counter[str]] = {}
        for thing in self.emoji:
            groups.setdefault(thing.kind, Counter())[thing.group] += 1
        self.group_of = {kind: _named(counts) for kind, counts in groups.items()}
        said = Counter(word for thing in self.things for word in thing.words)
        plain = {word for kind, group in self.group_of.items() for text in (kind, group) for word in words_of(text)}
        self.say_nothing = plain | {word for word, count in said.items() if count >= FREQUENT}

    def unlike(self, one: Thing, other: Thing) -> bool:
        """Whether no source says of one thing what another says of the other."""
        return one.thing != other.thing and not (one.words & other.words) - self.say_nothing

    def colours(self) -> Iterator[Item]:
        for thing in self.things:
            words = thing.title.split()
            colours = [word for word in words[:-1] if word in COLOURS]
            if len(colours) == 1 and not any(name in thing.title for name in NOT_COLOURED):
                others = [colour for colour in COLOURS if colour != colours[0]]
                chosen = sorted(others, key=lambda colour: _hash(thing.path, colour))[:3]
                texts = [with_colour(thing.captions[0], colours[0], colour) for colour in chosen]
                yield {"image": thing.path, "positives": [thing.captions[0]], "negatives": texts}

    def objects(self) -> Iterator[Item]:
        for thing in self.named:
            if others := self._others(thing, self.named, self._is_far):
                texts = [other.captions[0] for other in others[:MANY]]
                yield {"image": thing.path, "positives": [thing.captions[0]], "negatives": texts}

    def kinds(self) -> Iterator[Item]:
        for thing in self.emoji:
            group = FALSE_KINDS.get(self.group_of[thing.kind], "")
            false = [kind for kind, own in self.group_of.items() if own == group and kind not in VAGUE]
            false = [kind for kind in false if not set(words_of(kind)) & thing.words]
            if thing.kind not in VAGUE and false:
                other = min(false, key=lambda kind: _hash(thing.path, kind))
                texts = [f"a drawing of a kind of {kind}" for kind in (thing.kind, other)]
                yield {"image": thing.path, "positives": texts[:1], "negatives": texts[1:]}

    def countries(self) -> Iterator[Item]:
        flags = [thing for thing in self.things if re.fullmatch(r"clip art of the .+ flag", thing.captions[0])]
        for thing in flags:
            own = set(words_of(thing.title))
            others = [flag for flag in flags if own & set(words_of(flag.title)) <= {"the", "flag", "and"}]
            chosen = sorted(others, key=lambda flag: _hash(thing.path, flag.path))[:MANY]
            texts = [flag.captions[0] for flag in chosen]
            yield {"image": thing.path, "positives": [thing.captions[0]], "negatives": texts}

    def two_texts(self) -> Iterator[Item]:
        for thing in self.named:
            others = self._others(thing, self.named, self._is_far) if thing.other_name else []
            if others:
                names = {"caption": thing.captions[0], "caption2": thing.other_name}
                yield {"image": thing.path, **names, "negative_caption": others[0].captions[0]}

    def image_pairs(self) -> Iterator[Item]:
        """Pairs of one kind, each drawing once."""
        left = list(self.named)
        while left:
            thing = left.pop(0)
            others = self._others(thing, left, lambda one, two: one.kind == two.kind)
            if others:
                left.remove(others[0])
                texts = [thing.captions[0], others[0].captions[0]]
                yield {"images": [thing.path, others[0].path], "texts": texts}

    def _is_far(self, one: Thing, other: Thing) -> bool:
        return one.kind != other.kind and self.group_of[one.kind] == self.group_of[other.kind]

    def _others(self, thing: Thing, among: Sequence[Thing], is_wanted: Callable[[Thing, Thing], bool]) -> list[Thing]:
        """The things that may stand in for one, those that the hash prefers first."""
        fit = [other for other in among if is_wanted(thing, other) and self.unlike(thing, other)]
        return sorted(fit, key=lambda other: _hash(thing.path, other.path))


def with_colour(caption: str, own: str, other: str) -> str:
    """A caption with another colour, and the article that goes with it."""
    text = re.sub(rf"\b{own}\b", other, caption, count=1)
    return re.sub(rf"\ban? {other}\b", f"{'an' if other[0] in 'aeiou' else 'a'} {other}", text)


def _named(counts: Counter[str]) -> str:
    """The group that most things of a kind name; long lists of captions leave it out."""
    return max((group for group in counts if group), key=counts.__getitem__, default="")


def _hash(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def items(things: Sequence[Thing]) -> Iterator[Item]:
    """All items, subset by subset."""
    rules = Rules(things)
    subsets: dict[str, Callable[[], Iterator[Item]]] = {
        "colour": rules.colours,
        "object": rules.objects,
        "kind": rules.kinds,
        "country": rules.countries,
        "two_texts": rules.two_texts,
        "image_pairs": rules.image_pairs,
    }
    for name, made in subsets.items():
        yield from ({"subset": name, **item} for item in made())


def things_for_testing(pairs: Path) -> list[Thing]:
    """The drawings of the test part."""
    rows = json.loads(pairs.read_text(encoding="utf-8"))
    return [
        Thing(path, tuple(captions), thing) for thing, part, captions, paths in rows if part == "test" for path in paths
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="where the data sets lie; by default in the package")
    options = parser.parse_args()
    found = list(items(things_for_testing(options.out / "pairs.json")))
    lines = "".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n" for item in found)
    (options.out / NAME).write_text(lines, encoding="utf-8")
    (options.out / "SHA256SUMS").write_text(checksums(options.out))
    for subset, count in Counter(item["subset"] for item in found).items():
        print(subset, count)


if __name__ == "__main__":
    main()

"""Other ways to say what a caption says, by rules: "a cup left of a jug" is "a jug right of a cup".

Rules hold back: they leave alone what they might say wrong, and most captions have no such form.
"""

import re
from collections.abc import Iterator

from adaptkit.objectives.svlc.matching import VOWEL_SOUND, find_words
from adaptkit.objectives.svlc.word_lists import WORDS, WordLists

OPPOSITES = {
    "to the left of": "to the right of",
    "left of": "right of",
    "above": "below",
    "over": "under",
    "on top of": "beneath",
    "in front of": "behind",
    "next to": "next to",
    "beside": "beside",
    "near": "near",
}
OPPOSITES |= {other: word for word, other in OPPOSITES.items()}
FRAME = re.compile(r"(?:an?|the) (?:photo|picture|image|drawing|painting|sketch|icon) of ", re.IGNORECASE)
THING = r"(?:an?|the|one)(?: (?!is\b)[\w'-]+){1,4}"  # a determiner and up to four words
# Words that lead on to another thing.
NO_NOUN = frozenset("of with and or that which who is are was at to from for as its his".split())  # noqa: SIM905
LEADS_ON = sorted(NO_NOUN | {word.split()[0] for word in WORDS["relation"]})
BEHIND = r"(?=$|[.,;:!?]|\s+(?:" + "|".join(LEADS_ON) + r")\b)"  # where the name of a thing ends
LED = re.compile(rf"\b([Aa]n?|AN)((?: [\w'-]+){{1,4}}?) ([\w'-]+){BEHIND}")  # an article, attributes, a thing


def inversions(caption: str, lists: WordLists = WORDS) -> tuple[str, ...]:
    """Captions that say the same, by exchanging two things, or by moving an attribute behind its thing and back.

    Args:
        lists: attributes by kind; relations are those that have an opposite.

    Example:
        ```python
        from adaptkit.objectives.svlc import inversions

        assert inversions("a cup left of a jug.") == ("a jug right of a cup.",)
        assert inversions("an old blue boat") == ("a blue boat that is old", "an old boat that is blue")
        ```
    """
    attributes = {kind: words for kind, words in lists.items() if kind != "relation"}
    said = [*_exchanged(caption), *_moved_behind(caption, attributes), *_moved_before(caption, attributes)]
    return tuple(one for one in dict.fromkeys(said) if one != caption)


def _exchanged(caption: str) -> Iterator[str]:
    frame = FRAME.match(caption)
    start = frame.end() if frame else 0
    for relation, opposite in OPPOSITES.items():
        match = re.fullmatch(rf"({THING})( is)? {relation} ({THING})([.!]?)", _lowered(caption[start:]))
        if match and _is_thing(match[1]) and _is_thing(match[3]):
            whole = f"{match[3]}{match[2] or ''} {opposite} {match[1]}{match[4]}"
            yield caption[:start] + (whole[0].upper() + whole[1:] if caption[start].isupper() else whole)


def _is_thing(words: str) -> bool:
    """Whether a phrase names one thing: no word in it leads on to another."""
    inner = words.lower().split()[1:]
    return not NO_NOUN.intersection(inner) and not find_words(" ".join(inner), {"relation": WORDS["relation"]})


def _moved_behind(caption: str, attributes: WordLists) -> Iterator[str]:
    for match in LED.finditer(caption):
        lead, noun = match[2].strip(), match[3]
        found = find_words(lead, attributes)
        covered = sum(len(lead[one.start : one.end].split()) for one in found)
        if covered != len(lead.split()) or _is_attribute(noun, attributes):
            continue
        for place in found:
            rest = " ".join([*lead[: place.start].split(), *lead[place.end :].split(), noun])
            article = match[1][0] + ("n" if VOWEL_SOUND.match(rest.lower()) else "")
            behind = f"{rest} that is {lead[place.start : place.end].lower()}"
            yield f"{caption[: match.start()]}{article} {behind}{caption[match.end() :]}"


def _moved_before(caption: str, attributes: WordLists) -> Iterator[str]:
    for match in re.finditer(rf"\b([Aa])n? ([\w'-]+) that is ([\w' -]+?){BEHIND}", caption):
        if _is_attribute(match[3], attributes):
            article = match[1] + ("n" if VOWEL_SOUND.match(match[3].lower()) else "")
            yield f"{caption[: match.start()]}{article} {match[3]} {match[2]}{caption[match.end() :]}"


def _is_attribute(words: str, attributes: WordLists) -> bool:
    return any(words.lower() in listed for listed in attributes.values())


def _lowered(text: str) -> str:
    """A sentence as it stands within another one."""
    return text[:1].lower() + text[1:]

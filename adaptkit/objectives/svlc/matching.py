"""Words and phrases of lists in a caption, token by token, and what else can stand in their place."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

from adaptkit.objectives.svlc.word_lists import Synonyms, WordLists

TOKEN = re.compile(r"\S+")
CORE = re.compile(r"\w(?:\S*\w)?")  # a token without the punctuation around it
VOWEL_SOUND = re.compile(r"(?!one|eu|us[eu]|uni(?!n)|uti)[aeiou]")


@dataclass(frozen=True)
class Found:
    """A word or phrase of a list that stands in a caption."""

    start: int  # in characters
    end: int
    kinds: tuple[str, ...]  # lists that have it
    article: str  # "a" or "an" directly before it, else ""


@dataclass(frozen=True)
class _Token:
    start: int  # of the word without its punctuation, in characters
    end: int
    opens: bool  # no punctuation before the word
    closes: bool  # none behind it
    word: str  # in lower case


def find_words(caption: str, lists: WordLists) -> list[Found]:
    """What a caption has of the lists: whole tokens without their punctuation, longest phrases first, in any case.

    A phrase is found only where nothing but white space stands between its words.

    Example:
        ```python
        from adaptkit.objectives.svlc import find_words

        caption = "Red apples, in front of an off white wall."
        found = find_words(caption, {"colour": ("red", "white", "off white"), "relation": ("in", "in front of")})
        assert [caption[one.start : one.end] for one in found] == ["Red", "in front of", "off white"]
        ```
    """
    kinds_of: dict[tuple[str, ...], tuple[str, ...]] = {}
    for kind, words in lists.items():
        for word in words:
            key = tuple(word.lower().split())
            kinds_of[key] = (*kinds_of.get(key, ()), kind)
    longest = max(map(len, kinds_of), default=0)
    return list(_found(list(_tokens(caption)), kinds_of, longest))


def _tokens(caption: str) -> Iterator[_Token]:
    for token in TOKEN.finditer(caption):
        core = CORE.search(token[0])
        start, end = core.span() if core else (0, 0)
        word = token[0][start:end].lower()
        yield _Token(token.start() + start, token.start() + end, start == 0, end == len(token[0]), word)


def _found(
    tokens: Sequence[_Token], kinds_of: Mapping[tuple[str, ...], tuple[str, ...]], longest: int
) -> Iterator[Found]:
    place = 0
    while place < len(tokens):
        for length in range(min(longest, len(tokens) - place), 0, -1):
            own = tokens[place : place + length]
            joined = all(left.closes and right.opens for left, right in pairwise(own))
            kinds = kinds_of.get(tuple(token.word for token in own)) if joined else None
            if kinds:
                before = tokens[place - 1] if place else None
                is_article = before is not None and before.closes and own[0].opens and before.word in ("a", "an")
                article = before.word if before is not None and is_article else ""
                yield Found(own[0].start, own[-1].end, kinds, article)
                place += length
                break
        else:
            place += 1


def barred_words(caption: str, kind: str, found: Sequence[Found], synonyms: Synonyms) -> frozenset[str]:
    """The words of a kind that a caption has already, with their synonyms."""
    there = {words_at(caption, one) for one in found if kind in one.kinds}
    return frozenset(there.union(*(group for group in synonyms.get(kind, ()) if there & group)))


def replacements(old: str, article: str, words: Sequence[str], barred: Set[str]) -> list[str]:
    """The words of a list that can take the place of another one and make a caption wrong, in the order of the list.

    Left out are barred words, phrases around the old word or within it ("navy blue" for "blue"), and words that do not
    fit the article before them: a negative is to be wrong in what it says and not in its grammar.
    """
    left = [word for word in words if word not in barred and fits_article(word, article)]
    return [word for word in left if f" {old} " not in f" {word} " and f" {word} " not in f" {old} "]


def words_at(caption: str, place: Found) -> str:
    """What stands at a place, in lower case and with single spaces."""
    return " ".join(caption[place.start : place.end].lower().split())


def fits_article(word: str, article: str) -> bool:
    """Whether "a" or "an" can stand before a word; any word fits no article."""
    return not article or (article == "an") == bool(VOWEL_SOUND.match(word))


def replaced(caption: str, place: Found, word: str) -> str:
    """The caption with another word at a place, which is in capitals or begins with one where the old one is so."""
    old = caption[place.start : place.end]
    if old.isupper() and len(old) > 1:
        word = word.upper()
    elif old[0].isupper():
        word = word[0].upper() + word[1:]
    return caption[: place.start] + word + caption[place.end :]

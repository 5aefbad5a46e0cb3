"""Which English words can name or describe a thing: a lexicon of nouns, adjectives and participles from WordNet.

It stands in place of a part-of-speech tagger and needs no download. A word is looked up alone, so one that is a noun in
some sentences ("play", "will") is kept in all of them. Articles, pronouns, prepositions, conjunctions, auxiliaries,
numerals and question words are left out, although WordNet has a noun for some of them ("who", "are", "two"); so are
their remnants behind the rule for plurals ("was" -> "wa").
"""

import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adaptkit.regular_file import FileError, decoded, read_bytes

# Words in a row, as the text has them -> whether each one may name or describe a thing.
WordFilter = Callable[[Sequence[str]], Sequence[bool]]

LEXICON = Path(__file__).parents[2] / "mini" / "wordnet_words.txt.gz"
MAX_BYTES = 2**24

_CLOSED_CLASSES = (
    "the and but nor for yet not all any both each either every neither some this that these those such "
    "you she her hers him his its our ours your yours they them their theirs mine who whom whose which what "
    "with from into onto upon over under about above across after against along amid among around before behind below "
    "beneath beside besides between beyond down during except inside like near off out outside past per since than "
    "through throughout till toward towards until via within without "
    "are was wa were been being has ha have had having did does doing done can could may might must shall should will "
    "would one two three four five six seven eight nine ten eleven twelve hundred thousand million "
    "how when where why whether while because though although unless also just only very too there here then"
)

FUNCTION_WORDS = frozenset(_CLOSED_CLASSES.split())


@dataclass(frozen=True)
class Lexicon:
    """Words of three letters or more, lower-case: each may be of several kinds."""

    nouns: frozenset[str]
    adjectives: frozenset[str]
    participles: frozenset[str]  # forms of verbs in -ing and -ed

    def __contains__(self, word: str) -> bool:
        return word not in FUNCTION_WORDS and (
            word in self.nouns or word in self.adjectives or word in self.participles
        )

    def is_noun(self, word: str) -> bool:
        """Whether a word may name a thing."""
        return word in self.nouns and word not in FUNCTION_WORDS

    def keep(self, words: Sequence[str]) -> list[bool]:
        """The word filter of this lexicon."""
        return [word in self for word in words]


@cache
def lexicon() -> Lexicon:
    """The shipped lexicon, read once.

    Raises:
        FileError: if its file is damaged.
    """
    return read_lexicon(LEXICON)


def read_lexicon(path: Path) -> Lexicon:
    """A lexicon from a gzip file of lines "n word word ...": the first column has the kinds, any of n, a and v.

    Raises:
        FileNotFoundError, FileError: if it cannot be read, or is no such file.
    """
    try:
        text = decoded(gzip.decompress(read_bytes(path, "lexicon", MAX_BYTES)), "lexicon", path)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise FileError(f"the lexicon {str(path)!r} is damaged ({error}); install adaptkit again") from error
    found: dict[str, set[str]] = {"n": set(), "a": set(), "v": set()}
    for line in text.splitlines():
        kinds, _, words = line.partition(" ")
        if not kinds or not set(kinds) <= found.keys():
            raise FileError(f"the lexicon {str(path)!r} has the line {line[:40]!r}; expected kinds n, a or v and words")
        for kind in kinds:
            found[kind].update(words.split())
    return Lexicon(frozenset(found["n"]), frozenset(found["a"]), frozenset(found["v"]))

"""Captions -> candidate names: the filter chain of CaSED, word for word as released.

The captions are joined with spaces, and the steps of `CHAIN` follow each other. What stands between two of them is text
again, so a test can look at each.

Departure: candidates come by falling count, then by first occurrence; the released order is that of a Python set.
Departure: the default word filter is a lexicon in place of the tagger flair; any other can be given as `keeps`.
Departure: `bigrams` is ours; the released code has its own pairs of nouns switched off.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from adaptkit.options import option, options
from adaptkit.texts.cased.lexicon import WordFilter, lexicon
from adaptkit.texts.cased.singular import singular

STOP_WORDS = (
    *("image", "photo", "picture", "thumbnail", "logo", "symbol", "clipart", "portrait", "painting"),
    *("illustration", "icon", "profile"),
)
FALLBACK = "object"  # the only candidate where the captions give none


@options
class CandidateOptions:
    """How words are chosen from captions."""

    min_count: int = option(2, "Times that a word has to occur in an image's captions; fewer if none does.", least=1)
    min_letters: int = option(3, "Letters, apostrophes included, that a word of a caption has to have.", least=1)
    stop_words: tuple[str, ...] = option(STOP_WORDS, "Words that are never names, in the singular.", filled=True)
    bigrams: bool = option(False, "Whether two nouns side by side are a candidate too, such as polar bear.")


DEFAULT = CandidateOptions()


def candidates(
    captions: Sequence[str],
    config: CandidateOptions = DEFAULT,
    keeps: WordFilter | None = None,
) -> list[str]:
    """The words of captions that may name what an image shows; they may be none.

    Args:
        keeps: the words that the count has left, in a row -> whether each may be a name; the shipped lexicon if None.
            A word stays if any of its occurrences does.

    Example:
        ```python
        from adaptkit.texts.cased.candidates import candidates

        assert candidates(["a beagle dog on grass", "two beagles, dogs of England"]) == ["beagle", "dog"]
        ```
    """
    texts = stages(captions, config, keeps)
    counts = Counter(texts["drop_words"].split())
    kept = list(dict.fromkeys(texts["keep_kinds"].split()))  # in the order of their first occurrence
    words = sorted(kept, key=lambda word: -counts[word])
    if config.bigrams:
        words = [*noun_pairs(texts["drop_words"].split(), set(kept), config.min_count), *words]
    return words


def candidates_or_object(
    captions: Sequence[str],
    config: CandidateOptions = DEFAULT,
    keeps: WordFilter | None = None,
) -> list[str]:
    """The candidates, or ["object"] where the captions give none."""
    return candidates(captions, config, keeps) or [FALLBACK]


def stages(
    captions: Sequence[str],
    config: CandidateOptions = DEFAULT,
    keeps: WordFilter | None = None,
) -> dict[str, str]:
    """The text after every step of the chain, by the step's name, in their order."""
    text = " ".join(captions)
    found: dict[str, str] = {}
    for name, step in (
        ("drop_tokens", drop_tokens),
        ("drop_urls", drop_urls),
        ("drop_special_characters", drop_special_characters),
        ("drop_file_extensions", drop_file_extensions),
        ("replace_separators", replace_separators),
        ("drop_short_words", lambda text: drop_short_words(text, config.min_letters)),
        ("drop_non_letters", drop_non_letters),
        ("lower_case", str.lower),
        ("to_singular", to_singular),
        ("drop_words", lambda text: drop_words(text, config.stop_words)),
        ("keep_frequent", lambda text: keep_frequent(text, config.min_count)),
        ("keep_kinds", lambda text: keep_kinds(text, keeps or lexicon().keep)),
        ("drop_duplicates", drop_duplicates),
    ):
        text = found[name] = step(text)
    return found


def drop_tokens(text: str) -> str:
    """Without tokens in angle brackets, such as <PERSON>."""
    return re.sub(r"<[^>]*>", "", text)


def drop_urls(text: str) -> str:
    """Without web addresses."""
    return re.sub(r"http\S+", "", text)


def drop_special_characters(text: str) -> str:
    """Without characters other than word characters, white space, - . ' and &."""
    return re.sub(r"[^\w\s\-.'&]", "", text)


def drop_file_extensions(text: str) -> str:
    """Without a full stop and the word characters that follow it at once."""
    return re.sub(r"\.\w+", "", text)


def replace_separators(text: str) -> str:
    """With spaces for _ and -."""
    return re.sub(r"[_-]", " ", text)


def drop_short_words(text: str, least: int) -> str:
    """Words of at least so many characters, whatever these are."""
    return " ".join(word for word in text.split() if len(word) >= least)


def drop_non_letters(text: str) -> str:
    """ASCII letters and white space."""
    return re.sub(r"[^a-zA-Z\s]", "", text)


def to_singular(text: str) -> str:
    """Words in the singular."""
    return " ".join(singular(word) for word in text.split())


def drop_words(text: str, stop_words: Sequence[str]) -> str:
    """Without whole words of a list; the spaces around them stay."""
    if not stop_words:
        return text
    return re.sub(rf"\b(?:{'|'.join(map(re.escape, stop_words))})\b", "", text, flags=re.IGNORECASE)


def keep_frequent(text: str, min_count: int) -> str:
    """Words that occur so often, or as often as the most frequent one if none does."""
    counts = Counter(text.split())
    least = min(min_count, max(counts.values(), default=0))
    return " ".join(word for word in text.split() if counts[word] >= least)


def keep_kinds(text: str, keeps: WordFilter) -> str:
    """The occurrences of words that a word filter keeps.

    Raises:
        ValueError: if the filter does not say one thing of each word.
    """
    words = text.split()
    verdicts = list(keeps(words))
    if len(verdicts) != len(words):
        raise ValueError(f"the word filter gave {len(verdicts)} answers for {len(words)} words; expected one of each")
    return " ".join(word for word, stays in zip(words, verdicts, strict=True) if stays)


def drop_duplicates(text: str) -> str:
    """Every word once, at its first occurrence."""
    return " ".join(dict.fromkeys(text.split()))


def noun_pairs(words: Sequence[str], names: "set[str]", min_count: int) -> list[str]:
    """Two nouns side by side, joined with "_", that occur so often; the most frequent first.

    Args:
        words: in a row, before rare ones are dropped.
        names: words that are candidates alone; one of the two has to be among them.
    """
    known = lexicon()
    pairs = Counter(
        f"{first}_{second}"
        for first, second in pairwise(words)
        if first != second and known.is_noun(first) and known.is_noun(second) and (first in names or second in names)
    )
    return [pair for pair, count in pairs.most_common() if count >= min_count]

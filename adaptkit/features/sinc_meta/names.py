"""Whether a class was seen in meta-training: names are compared by their words."""

import re
from collections.abc import Iterable, Sequence


def words_of(name: str) -> frozenset[str]:
    """The words of a class name in lower case, without a plural s."""
    words = re.findall(r"[^\W_]+", name.lower())
    return frozenset(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in words)


def seen_among(names: Iterable[str], seen: Iterable[str]) -> list[str]:
    """The names that have just the words of a name in `seen`."""
    known = {words_of(name) for name in seen}
    return [name for name in names if words_of(name) in known]


def related_to(names: Sequence[str], held_out: Iterable[str]) -> list[str]:
    """The names that contain all words of a name in `held_out`, or are contained in one: "low battery" in "battery"."""
    kept_away = [words for words in map(words_of, held_out) if words]
    return [name for name in names if any(words_of(name) <= other or other <= words_of(name) for other in kept_away)]

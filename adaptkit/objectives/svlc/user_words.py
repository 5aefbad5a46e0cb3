"""Files of a user's: word lists, and words that mean the same."""

from collections.abc import Iterable
from pathlib import Path

from adaptkit.objectives.svlc.word_lists import Synonyms, WordLists
from adaptkit.regular_file import read_json, read_text

WHAT_WORDS, WHAT_SYNONYMS = "file of word lists", "file of synonyms"


def read_words(path: str | Path) -> WordLists:
    """Word lists by kind: a line `[kind]` begins a list, and every other line is a word or a phrase of it.

    White space around words and blank lines do not count, nor do lines that begin with "#".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a word stands before the first kind, a word or a kind is there twice, or a list has fewer than
            two words.
    """
    lists: dict[str, list[str]] = {}
    kind = None
    for number, given in enumerate(read_text(path, WHAT_WORDS).splitlines(), start=1):
        line = " ".join(given.split()).lower()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            kind = line[1:-1].strip()
            if not kind or kind in lists:
                raise ValueError(f"{path}, line {number}: the kind {given.strip()!r} is blank or there twice; keep one")
            lists[kind] = []
        elif kind is None:
            raise ValueError(f"{path}, line {number}: {line!r} is of no kind; write a line such as [colour] before it")
        elif line in lists[kind]:
            raise ValueError(f"{path}, line {number}: {line!r} is in {kind} twice; keep one of them")
        else:
            lists[kind].append(line)
    short = [name for name, words in lists.items() if len(words) < 2]
    if short or not lists:
        lacking = f"the list {short[0]!r} has fewer than two words" if short else "there is no list"
        raise ValueError(f"{path}: {lacking}; a word needs another one that can stand in its place")
    return {name: tuple(words) for name, words in lists.items()}


def read_synonyms(path: str | Path) -> Synonyms:
    """Groups of words that mean the same: JSON {kind: {word: [word, ...]}}.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has another form.
    """
    content = read_json(path, WHAT_SYNONYMS)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no {WHAT_SYNONYMS}; expected a JSON object {{kind: {{word: [word, ...]}}}}")
    return {kind: tuple(_groups(path, kind, own)) for kind, own in content.items()}


def _groups(path: str | Path, kind: str, own: object) -> Iterable[frozenset[str]]:
    if not isinstance(own, dict):
        raise ValueError(f"{path}: {kind!r} has {str(own)[:60]}; expected {{word: [word, ...]}}")
    for word, others in own.items():
        if not isinstance(others, list) or not all(isinstance(one, str) and one.strip() for one in others):
            raise ValueError(f"{path}: {word!r} of {kind!r} has {str(others)[:60]}; give it a list of words")
        yield frozenset(" ".join(one.split()).lower() for one in (word, *others))

"""Make the shipped word lists from WordNet: the lexicon of the word filter, and the captions of the default index.

    python -m trainers.studies.naming.word_lists --wordnet DIR --out adaptkit/mini

DIR has WordNet 3.0's index.* and data.* files, such as /usr/share/wordnet of Debian's package wordnet-base.

Which nouns get a caption is decided by two things, and no data set's class names are looked at: the noun's first
meaning is a thing that can be seen (`VISIBLE`), and every word of it is a whole token of CLIP's vocabulary, so it is
common on the web. Compounds also have to occur in WordNet's sense-tagged texts. The sentences are ours; the nouns and
their kinds are WordNet's.
"""

import argparse
import gzip
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from open_clip.tokenizer import default_bpe

from adaptkit.artefacts.atomic_file import replacing
from adaptkit.regular_file import read_text

WORDS_FILE = "wordnet_words.txt.gz"
CAPTIONS_FILE = "wordnet_captions.txt.gz"
LEAST_LETTERS = 3
MERGES = 49152 - 256 - 2  # of CLIP's vocabulary
VISIBLE = frozenset({"05", "06", "08", "13", "17", "18", "19", "20", "25"})  # lexicographer files, see lexnames(5WN):
# animal, artifact, body, food, object, person, phenomenon, plant, shape


@dataclass(frozen=True)
class Synset:
    """A meaning with its words."""

    file: str  # number of the lexicographer file
    words: tuple[str, ...]
    kinds: tuple[str, ...]  # synsets of which this one is a kind
    is_instance: bool  # whether it is one thing, such as a river


def lemmas(wordnet: Path, part: str) -> dict[str, tuple[str, int]]:
    """Lemma -> its first meaning, and how many of its meanings occur in the sense-tagged texts."""
    found = {}
    for line in _lines(wordnet / f"index.{part}"):
        columns = line.split()
        behind_pointers = 4 + int(columns[3])
        found[columns[0]] = (columns[behind_pointers + 2], int(columns[behind_pointers + 1]))
    return found


def synsets(wordnet: Path) -> dict[str, Synset]:
    """All meanings of nouns by their number."""
    found = {}
    for line in _lines(wordnet / "data.noun"):
        columns = line.split(" | ", 1)[0].split()
        count = int(columns[3], 16)
        pointers = [columns[start : start + 4] for start in range(5 + 2 * count, len(columns) - 3, 4)]
        found[columns[0]] = Synset(
            columns[1],
            tuple(columns[4 : 4 + 2 * count : 2]),
            tuple(pointer[1] for pointer in pointers if pointer[0] == "@"),
            any(pointer[0] == "@i" for pointer in pointers),
        )
    return found


def _lines(path: Path) -> Iterator[str]:
    """Lines of a file of WordNet without its licence, whose lines begin with spaces."""
    return (line for line in read_text(path, "file of WordNet").splitlines() if line and not line.startswith(" "))


def lexicon_lines(wordnet: Path) -> list[str]:
    """The lexicon: a line of words for every combination of noun, adjective and participle."""
    kinds: dict[str, str] = {}
    for kind, words in (
        ("n", lemmas(wordnet, "noun")),
        ("a", lemmas(wordnet, "adj")),
        ("v", [form for verb in lemmas(wordnet, "verb") for form in participles(verb)]),
    ):
        for word in dict.fromkeys(words):
            if re.fullmatch(rf"[a-z]{{{LEAST_LETTERS},}}", word):
                kinds[word] = kinds.get(word, "") + kind
    groups: dict[str, list[str]] = {}
    for word, its_kinds in sorted(kinds.items()):
        groups.setdefault(its_kinds, []).append(word)
    return [f"{its_kinds} {' '.join(words)}" for its_kinds, words in sorted(groups.items())]


def participles(verb: str) -> tuple[str, ...]:
    """The regular forms of a verb in -ing and -ed; both spellings where the last letter may be doubled."""
    if not re.fullmatch(r"[a-z]+", verb):
        return ()
    if verb.endswith("ie"):
        return verb[:-2] + "ying", verb + "d"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb[:-1] + "ing", verb + "d"
    if verb.endswith("e"):
        return verb + "ing", verb + "d"
    if re.search(r"[^aeiou]y$", verb):
        return verb + "ing", verb[:-1] + "ied"
    if re.search(r"[^aeiou][aeiou][bdfgklmnprtvz]$", verb):
        return verb + "ing", verb + verb[-1] + "ing", verb + "ed", verb + verb[-1] + "ed"
    return verb + "ing", verb + "ed"


def captions(wordnet: Path) -> list[str]:
    """One caption for every common noun whose first meaning is a thing that can be seen, in WordNet's order."""
    meanings, nouns, tokens = synsets(wordnet), lemmas(wordnet, "noun"), whole_tokens()
    found = []
    for number, meaning in meanings.items():
        if meaning.file not in VISIBLE or meaning.is_instance:
            continue
        name = meaning.words[0]
        first, tagged = nouns[name.lower()]
        parts = re.split("[_-]", name)
        if not name.islower() or first != number or not tokens.issuperset(parts):
            continue
        if len(parts) > 1 and not tagged:
            continue
        found.append(caption(meaning, [meanings[kind].words[0] for kind in meaning.kinds]))
    return found


def caption(meaning: Synset, kinds: Sequence[str]) -> str:
    """A noun and the kind of thing that it is, in a sentence: "a photo of a dachshund, hunting dog."."""
    names = [word.replace("_", " ") for word in (meaning.words[0], *kinds[:1])]
    article = "an" if names[0][0] in "aeiou" else "a"
    return f"a photo of {article} {', '.join(names)}."


def whole_tokens() -> set[str]:
    """Words of letters that are one token of CLIP's vocabulary."""
    merges = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")[1 : 1 + MERGES]
    spelt = {"".join(merge.split()) for merge in merges}
    words = {token.removesuffix("</w>") for token in spelt if token.endswith("</w>")}
    return {word for word in words if re.fullmatch(rf"[a-z]{{{LEAST_LETTERS},}}", word)}


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write lines as a gzip file that is the same on every day."""
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wordnet", type=Path, required=True, metavar="DIR", help="WordNet 3.0's files")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the lists")
    args = parser.parse_args(arguments)
    for name, lines in ((WORDS_FILE, lexicon_lines(args.wordnet)), (CAPTIONS_FILE, captions(args.wordnet))):
        write_lines(args.out / name, lines)
        print(f"{args.out / name}: {len(lines)} lines, {(args.out / name).stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

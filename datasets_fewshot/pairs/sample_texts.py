"""The captions of one sample of a webdataset shard: key.txt, a caption on each line, or key.json."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from adaptkit.regular_file import FileError, decoded, parse_json

TEXT_MEMBERS = ("txt", "caption", "text")  # endings, in order of preference
JSON_FIELDS = ("captions", "caption", "text", "sentences")
GROUP_FIELD = "group"
WHAT = "caption of a sample"

Facts = Mapping[str, object]


def sample_captions(endings: Collection[str], read: Callable[[str], bytes], place: Path) -> tuple[tuple[str, ...], str]:
    """Captions of a sample, none where it has none, and its group, empty where it names none.

    Args:
        endings: of the sample's members, in lower case.
        read: ending -> the member's bytes.
        place: the sample, for messages.

    Raises:
        FileError: if a text is in no encoding that is read, a .json is none, or its captions are of another kind.
    """
    facts = _facts(read("json"), place) if "json" in endings else {}
    group = facts.get(GROUP_FIELD, "")
    if isinstance(group, bool) or not isinstance(group, str | int):
        raise FileError(f"{str(place)!r} has the group {str(group)[:80]!r}; expected text")
    for ending in TEXT_MEMBERS:
        if ending in endings:
            text = decoded(read(ending), WHAT, place)
            return tuple(line for line in text.splitlines() if line.strip()), str(group)
    return _captions(facts, place), str(group)


def _facts(content: bytes, place: Path) -> Facts:
    facts = parse_json(decoded(content, WHAT, place), WHAT, place)
    if not isinstance(facts, dict):
        raise FileError(f"{str(place)!r} has the facts {str(facts)[:80]!r}; expected a JSON object")
    return facts


def _captions(facts: Facts, place: Path) -> tuple[str, ...]:
    value = next((facts[field] for field in JSON_FIELDS if facts.get(field) is not None), [])
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(caption, str) for caption in listed):
        raise FileError(f"{str(place)!r} has the captions {str(value)[:80]!r}; expected a text, or a list of texts")
    return tuple(listed)

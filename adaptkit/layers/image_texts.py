"""Texts that stand for images: read from a file, put behind the class name, and cut to what a text tower reads."""

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from adaptkit.artefacts.atomic_file import write_text
from adaptkit.backbone.tokenizer import Tokenizer
from adaptkit.regular_file import read_json, user_path

WHAT = "file of captions"
CLAUSE_END = re.compile(r"[,;.:!?](?=\s)")
SHOWN = 60  # characters of a text in a message


def texts_file(name: str) -> Path:
    """Path of an option that names a file of texts.

    Raises:
        FileNotFoundError: if the file does not exist.
    """
    path = user_path(name, "file of texts")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of texts {str(path)!r}; check the path")
    return path


def read_captions(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Captions by class or by image file: JSON {key: [caption, ...]}; white space around keys and captions is dropped.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has another form, a blank caption, or two keys that are one without white space.
    """
    content = read_json(path, WHAT)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} is no {WHAT}; expected a JSON object {{class or file: [caption, ...]}}")
    captions: dict[str, tuple[str, ...]] = {}
    for given, own in content.items():
        key = given.strip()
        if not isinstance(own, list) or not own or not all(isinstance(text, str) and text.strip() for text in own):
            raise ValueError(f"{path}: {key!r} has {str(own)[:SHOWN]}; give it a list of one or more captions")
        if not key or key in captions:
            raise ValueError(
                f"{path}: the key {given!r} is blank, or another one but for white space; keep one of them"
            )
        captions[key] = tuple(text.strip() for text in own)
    return captions


def write_captions(path: str | Path, captions: Mapping[str, Sequence[str]]) -> Path:
    """Write captions by class or by image file, whole or not at all; `read_captions` gives them back."""
    place = user_path(path, WHAT)
    content = {key: list(own) for key, own in captions.items()}
    write_text(place, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return place


def pair_text(name: str, caption: str, *, always: bool = False) -> str:
    """The text of a pair, "name: caption"; the caption alone where it has the name already.

    Args:
        always: put the name in front of every caption.
    """
    says_it = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", caption, re.IGNORECASE) is not None
    return caption if says_it and not always else f"{name}: {caption}"


def fit_text(text: str, tokenizer: Tokenizer, room: int | None = None) -> str:
    """The text if it fits into the context, else its clauses as far as they fit, or its words.

    Args:
        room: tokens that a text may have; None for as many as the text tower has places for.

    Raises:
        ValueError: if even its first word does not fit.
    """
    most = tokenizer.context_length - tokenizer.n_special if room is None else room

    def fits(part: str) -> bool:
        return len(tokenizer.words(part)) <= most

    if fits(text):
        return text
    clauses = [match.start() for match in CLAUSE_END.finditer(text)]
    words = [match.start() for match in re.finditer(r"\s", text)]
    for ends in (clauses, words):
        for end in reversed(ends):
            cut = text[:end].rstrip()
            if cut and fits(cut):
                return cut
    raise ValueError(
        f"the first word of {text[:SHOWN]!r} has more than the {most} tokens that fit; shorten it, or leave more "
        "of the context to texts (fewer context tokens, such as n_ctx=4)"
    )


def fit_texts(texts: Sequence[str], tokenizer: Tokenizer) -> list[str]:
    """Texts that fit into the context; one warning says how many were cut."""
    fitted = [fit_text(text, tokenizer) for text in texts]
    cut = [text for text, kept in zip(texts, fitted, strict=True) if text != kept]
    if cut:
        warnings.warn(
            f"{len(cut)} of {len(texts)} texts do not fit into {tokenizer.context_length} tokens and are cut, the "
            f"first is {cut[0][:SHOWN]!r} ...; write shorter ones to choose yourself what is kept",
            stacklevel=2,
        )
    return fitted

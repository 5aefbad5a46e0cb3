"""Graded prompts: phrases for the levels of an attribute, from worst to best; the paper's own, and those of a file."""

from pathlib import Path

from adaptkit.plain_yaml import read_yaml
from adaptkit.regular_file import FileError, read_json, said

Groups = tuple[tuple[str, ...], ...]  # groups of K phrases each, every group from worst to best

QUALITY: Groups = (("bad image", "poor image", "fair image", "good image", "perfect image"),)
ENSEMBLE: Groups = (
    *QUALITY,
    ("extremely blurry image", "blurry image", "fair image", "sharp image", "extremely sharp image"),
    ("extremely noisy image", "noisy image", "fair image", "noise-free image", "extremely noise-free image"),
    (
        "extremely low-quality image",
        "low-quality image",
        "fair image",
        "high-quality image",
        "extremely high-quality image",
    ),
)
GENERATED: Groups = (*QUALITY, ("bad content", "poor content", "fair content", "good content", "perfect content"))
ANTONYMS: Groups = (("bad photo", "good photo"),)  # CLIP-IQA's pair (Wang et al., arXiv:2207.12396)
NAMED = {"quality": QUALITY, "ensemble": ENSEMBLE, "generated": GENERATED, "antonyms": ANTONYMS}


def check_groups(groups: Groups) -> None:
    """Refuse groups that grade nothing.

    Raises:
        ValueError: if there is no group, a group has fewer than two phrases or another number than the first, or a
            phrase is blank.
    """
    if not groups:
        raise ValueError("there is no group of prompts; give one at least, its phrases from worst to best")
    for number, group in enumerate(groups, start=1):
        if len(group) < 2:
            raise ValueError(f"group {number} of the prompts has {len(group)} phrases; expected two or more levels")
        if len(group) != len(groups[0]):
            raise ValueError(
                f"group {number} of the prompts has {len(group)} phrases and group 1 has {len(groups[0])}; all groups "
                "share the values of their levels, so give each the same number of phrases, from worst to best"
            )
        if not all(phrase.strip() for phrase in group):
            raise ValueError(f"group {number} of the prompts has an empty phrase; write every level out")


def read_groups(place: str | Path) -> Groups:
    """Groups of a JSON or YAML file: a list of lists of phrases, or one list, each from worst to best.

    Raises:
        FileNotFoundError: if there is no such file.
        FileError: if it holds something else.
        ValueError: if its groups grade nothing, see `check_groups`.
    """
    what = "file of graded prompts"
    content = read_json(place, what) if Path(place).suffix.lower() == ".json" else read_yaml(place, what)
    lists = content if isinstance(content, list) and _phrases(content) is None else [content]
    found = [_phrases(group) for group in lists]
    groups = tuple(group for group in found if group is not None)
    if len(groups) < len(found):
        raise FileError(
            f"the {what} {said(place)} is no list of phrases and no list of such lists; write one list of phrases for "
            'each group, from worst to best, such as [["unripe fruit", "ripe fruit", "overripe fruit"]]'
        )
    try:
        check_groups(groups)
    except ValueError as error:
        raise ValueError(f"{said(place)}: {error}") from None
    return groups


def _phrases(content: object) -> tuple[str, ...] | None:
    """A list of texts as a tuple; None for what is none."""
    is_one = isinstance(content, list) and bool(content) and all(isinstance(entry, str) for entry in content)
    return tuple(content) if is_one else None  # type: ignore[arg-type]

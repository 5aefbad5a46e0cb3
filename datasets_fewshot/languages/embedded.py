"""What the classes of the embedded emoji are called in twelve languages, from Unicode's CLDR by way of emojibase."""

import json
from functools import cache

from datasets_fewshot.languages.labels import LabelsError, LanguageLabels, MultilingualLabels
from datasets_fewshot.mini.suite import FOLDER


@cache
def _names() -> dict[str, dict[str, dict[str, str]]]:
    """Data set -> language -> label -> name."""
    found: dict[str, dict[str, dict[str, str]]] = json.loads((FOLDER / "names.json").read_text(encoding="utf-8"))
    return found


def embedded_labels(dataset: str) -> MultilingualLabels:
    """The names of an embedded data set's classes; these languages come without templates.

    Raises:
        LabelsError: if there are no names for this data set.

    Example:
        ```python
        from datasets_fewshot.languages import embedded_labels

        print(embedded_labels("emoji_food")["de"].names[1])  # ('avocado',)
        ```
    """
    if dataset not in _names():
        raise LabelsError(
            f"there are no names in other languages for the classes of {dataset!r}; there are for "
            f"{', '.join(_names())}, and files of your own serve any data set"
        )
    return MultilingualLabels(
        [
            LanguageLabels(language, tuple(map(int, own)), tuple((name,) for name in own.values()))
            for language, own in _names()[dataset].items()
        ]
    )

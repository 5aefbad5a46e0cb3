"""Settings that lie over all files: the values that Python has, and the KEY VALUE words that a user writes.

A value is text only where a user wrote text; values of Python keep their types.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from adaptkit.plain_yaml import parse_yaml
from adaptkit.regular_file import FileError
from trainers.config.values import ConfigError

Settings: TypeAlias = Mapping[str, object]  # Key -> value, such as "OPTIM.LR" -> 0.1.


def words_as_settings(words: Sequence[str]) -> dict[str, object]:
    """["OPTIM.LR", "0.1"] -> {"OPTIM.LR": 0.1}; each value is read as YAML.

    Raises:
        ConfigError: if a key has no value, or a value is not YAML.
    """
    if len(words) % 2:
        raise ConfigError(f"{words[-1]!r} has no value; overrides come in pairs: KEY VALUE")
    settings: dict[str, object] = {}
    for key, text in zip(words[::2], words[1::2], strict=True):
        try:
            # YAML has nothing for null, and a user who writes an empty word means an empty text.
            settings[key] = parse_yaml(text, "value of", key) if text.strip() else text
        except FileError as error:
            raise ConfigError(f"{key} is {text!r}, which is not YAML; put quotes around it") from error
    return settings


def nested(settings: Settings) -> dict[str, object]:
    """{"OPTIM.LR": 0.1} -> {"OPTIM": {"LR": 0.1}}.

    Raises:
        ConfigError: if a section is set as a whole and by a key in it.
    """
    tree: dict[str, object] = {}
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        inner = tree.setdefault(section, {}) if section else tree
        if not isinstance(inner, dict):
            raise ConfigError(f"{section} is set as a whole and as {key}; set one of them")
        inner[name] = value
    return tree

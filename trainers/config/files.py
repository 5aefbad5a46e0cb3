"""Settings as files have them: the packaged YAML files, those of plugins, the user's file -> nested dictionaries."""

import functools
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Literal

from adaptkit import plain_yaml
from adaptkit.regular_file import FileError, read_text
from trainers.config.values import ConfigError

Kind = Literal["methods", "wrappers", "objectives", "protocols", "suites", "quick", "paper"]


# Beside our own packages, not looked up by name: a folder of the user's may have a `configs` of its own.
FOLDER = Path(__file__).resolve().parents[2] / "configs"
MAX_CONFIG_BYTES = 2**24  # 16 MiB: a few settings, and names of classes at most


def packaged_names(kind: Kind) -> list[str]:
    """Stems of the packaged files of a kind, sorted."""
    return sorted(file.stem for file in (FOLDER / kind).glob("*.yaml"))


def read_packaged(kind: Kind, name: str) -> Mapping[str, object]:
    """The content of a packaged file.

    Raises:
        ConfigError: if there is none of that name.
    """
    file = FOLDER / kind / f"{name}.yaml"
    if not file.is_file():
        raise ConfigError(f"there is no {file}; install adaptkit-clip anew, which brings it")
    return _parsed(file.read_text(encoding="utf-8"), packaged_source(kind, name))


@functools.cache
def _parsed(text: str, source: str) -> Mapping[str, object]:
    """The content of a packaged file, which is parsed once in a process: YAML takes longer than all that follows."""
    return parse_yaml(text, source)


def packaged_source(kind: Kind, name: str) -> str:
    """How messages call a packaged file."""
    return f"configs/{kind}/{name}.yaml"


def read_recipe(kind: Kind, name: str, module: str) -> Mapping[str, object]:
    """The settings that come with something registered: ours, or those in the package that registered it.

    Args:
        module: the module that registered it; `configs/KIND/NAME.yaml` is looked for in its packages, the innermost
            first. Where there is none, nothing differs from the defaults.

    Raises:
        ConfigError: if the file is not YAML, or holds no KEY: value pairs.
    """
    if (FOLDER / kind / f"{name}.yaml").is_file():
        return read_packaged(kind, name)
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        package = sys.modules.get(".".join(parts[:length]))
        if package is None or not hasattr(package, "__path__"):
            continue
        file = resources.files(package) / "configs" / kind / f"{name}.yaml"
        if file.is_file():
            return parse_yaml(file.read_text(encoding="utf-8"), f"{package.__name__}/{packaged_source(kind, name)}")
    return {}


def read_user_file(path: str | Path) -> Mapping[str, object]:
    """The content of a file of the user's.

    Raises:
        ConfigError: if it cannot be read or holds no KEY: value pairs.
    """
    try:
        return parse_yaml(read_text(path, "config file", MAX_CONFIG_BYTES), str(path))
    except (OSError, FileError) as error:
        raise ConfigError(str(error)) from error


def parse_yaml(text: str, source: str) -> Mapping[str, object]:
    """YAML text -> dictionary; an empty text is an empty one."""
    try:
        content = plain_yaml.parse_yaml(text, "config file", source)
    except FileError as error:
        raise ConfigError(str(error)) from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        kind = "key that is no text" if isinstance(content, dict) else type(content).__name__
        raise ConfigError(f"{source} holds a {kind}; expected KEY: value pairs")
    return content

"""Sections of methods, wrappers and objectives that take no part in a bench: settings that would change nothing."""

import warnings
from collections.abc import Mapping
from pathlib import Path

from adaptkit.contract.registry import list_methods, list_objectives, list_wrappers
from trainers.config.settings import BenchSettings
from trainers.config.values import ConfigError


def check_sections(
    words: Mapping[str, object], file: Mapping[str, object] | None, place: str | Path | None, bench: BenchSettings
) -> None:
    """Refuse such a section in the user's words, and warn of it in the user's file.

    Words are written for one command. A file may serve several: where it also has a section of something that takes
    part, the others are for other commands, and nothing is said.

    Args:
        words: the KEY VALUE words, nested.
        file: what the file says.
        place: the file's path.

    Raises:
        ConfigError: names the section and what takes part.
    """
    active = {name.upper() for name in (*bench.methods, *bench.wrap, *bench.objective)}
    plugins = {name.upper() for name in (*list_methods(), *list_wrappers(), *list_objectives())}
    there = ", ".join((*bench.methods, *bench.wrap, *bench.objective))
    for section, value in words.items():
        if section in plugins - active:
            key = f"{section}.{next(iter(value))}" if isinstance(value, Mapping) and value else section
            raise ConfigError(
                f"{key} would change nothing: {section.lower()} takes no part, only {there}; leave it out"
            )
    idle = [section for section in file or () if section in plugins - active]
    if idle and not active & set(file or ()):
        warnings.warn(
            f"{place} sets {', '.join(idle)}, which takes no part here, only {there}; that section changes nothing",
            stacklevel=2,
        )

"""Data sets by name, grouped in suites.

"mini" ships with the package, "paper" holds the eleven that the papers report on, and "imagenet_variants" the four
test sets of domain generalisation, which have no training images. An installed distribution may bring suites of its
own: the modules under its entry points `adaptkit.plugins` are imported when a name is not registered yet.
"""

import difflib
import inspect
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias

from adaptkit.regular_file import user_path
from datasets_fewshot.dataset import FewShotDataset

SUITES = ("mini", "paper", "imagenet_variants")  # the suites of this package

Option: TypeAlias = str | int | float | bool
Loader = Callable[..., FewShotDataset]  # (root: Path | None, **options) -> FewShotDataset

_LOADERS: dict[str, tuple[str, Loader]] = {}


def register_dataset(name: str, suite: str, loader: Loader) -> None:
    """Register a loader, so that `load_dataset(name)` calls `loader(root, **options)`.

    Args:
        suite: one of SUITES, or a new name in lower-case letters, digits and underscores.

    Raises:
        ValueError: if the name is taken, or the suite's name has other characters.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", suite):
        raise ValueError(f"the suite of {name!r} is {suite!r}; expected lower-case letters, digits and underscores")
    if name in _LOADERS:
        raise ValueError(f"a data set named {name!r} is already registered; choose another name")
    _LOADERS[name] = (suite, loader)


def suites() -> list[str]:
    """Names of the suites: those of this package, then those of installed plugins."""
    _import_plugins()
    return list(dict.fromkeys([*SUITES, *(suite for suite, _ in _LOADERS.values())]))


def suite_origin(suite: str) -> str:
    """The module that registered the first data set of a suite; "" for a suite without data sets."""
    return next((loader.__module__ for its_suite, loader in _LOADERS.values() if its_suite == suite), "")


def _import_plugins() -> None:
    """Import the plugins of other distributions, which register their data sets; a failing module is skipped.

    `adaptkit doctor` and the lists of methods give the reason of a failure.
    """
    for entry in entry_points(group="adaptkit.plugins"):
        try:
            entry.load()
        except Exception:
            continue


def list_datasets(suite: str | None = None) -> list[str]:
    """Names of the registered data sets, of one suite or of all, in the order of registration.

    Raises:
        ValueError: if there is no such suite.
    """
    if suite is not None and suite not in SUITES and suite not in suites():
        raise ValueError(f"suite is {suite!r}; use one of {', '.join(suites())}")
    return [name for name, (its_suite, _) in _LOADERS.items() if suite in (None, its_suite)]


def load_dataset(name: str, root: str | Path | None = None, **options: Option) -> FewShotDataset:
    """Load a data set by name.

    Args:
        root: the folder that holds the data sets of the papers; the embedded ones need none.
        options: keyword arguments of the data set's loader, such as `split="fallback"`.

    Raises:
        ValueError: if there is no such data set (the message names the nearest ones), or its loader has no such option.
    """
    if name not in _LOADERS:
        _import_plugins()
    if name not in _LOADERS:
        near = difflib.get_close_matches(name, _LOADERS, n=3, cutoff=0.4) or sorted(_LOADERS)
        raise ValueError(f"no data set is named {name!r}; did you mean {' or '.join(near)}?")
    _, loader = _LOADERS[name]
    known = [option for option in inspect.signature(loader).parameters if option != "root"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"{name} has no option {unknown[0]!r}; its options are: {', '.join(known) or 'none'}")
    return loader(None if root is None else user_path(root, "root"), **options)

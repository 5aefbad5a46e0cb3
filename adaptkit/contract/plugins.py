"""Plugins of other distributions: what they register is found without any file of ours being edited.

A distribution names modules under the entry-point group `adaptkit.plugins`; importing a module registers its methods,
wrappers, objectives, protocols and data sets. The modules are imported once, when a name is first looked up.
"""

import importlib.metadata
import warnings
from dataclasses import dataclass

GROUP = "adaptkit.plugins"


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group, and how its import went."""

    name: str
    distribution: str  # with its version, such as "my-methods 0.2"
    module: str
    error: str | None  # why it could not be imported; None where it was


_loaded: list[Plugin] | None = None


def load_plugins() -> tuple[Plugin, ...]:
    """Import the modules of all installed plugins; later calls only say what the first one found.

    A plugin that cannot be imported is named once, in a warning, and the others go on.
    """
    global _loaded
    if _loaded is None:
        _loaded = []  # before the imports, because a plugin registers while it is imported
        for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
            _loaded.append(_load(entry))
    return tuple(_loaded)


def _load(entry: importlib.metadata.EntryPoint) -> Plugin:
    origin = entry.dist
    distribution = "an unknown distribution" if origin is None else f"{origin.name} {origin.version}"
    error: str | None = None
    try:
        entry.load()
    except Exception as problem:  # code of others may fail in any way, and must not take the command with it
        error = f"{type(problem).__name__}: {problem}"
        warnings.warn(
            f"the plugin {entry.name!r} of {distribution} cannot be imported and is left out ({error}); "
            "upgrade or uninstall that distribution",
            stacklevel=2,
        )
    return Plugin(entry.name, distribution, entry.value, error)

"""What is registered is found without any file being edited: our own folders of plugins, and those of distributions.

A distribution names modules under the entry-point group `adaptkit.plugins`; importing a module registers its methods,
wrappers, objectives, heads, protocols and data sets. The modules are imported once, when a name is first looked up.
"""

import importlib
import importlib.metadata
import warnings
from dataclasses import dataclass

GROUP = "adaptkit.plugins"
OWN_FOLDERS = ("features", "heads", "objectives", "prompts", "test_time", "texts", "weights", "wrappers")


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group, and how its import went."""

    name: str
    distribution: str  # with its version, such as "my-methods 0.2"
    module: str
    error: str | None  # why it could not be imported; None where it was

    def complaint(self) -> str:
        """What to tell a user of a plugin that could not be imported."""
        return (
            f"the plugin {self.name!r} of {self.distribution} cannot be imported and is left out ({self.error}); "
            "upgrade or uninstall that distribution"
        )


_loaded: list[Plugin] | None = None


def load_own() -> None:
    """Import our own folders of plugins, each of which registers what it has."""
    for folder in OWN_FOLDERS:
        importlib.import_module(f"adaptkit.{folder}")


def load_plugins() -> tuple[Plugin, ...]:
    """Import our own folders and the modules of all installed plugins; later calls only say what the first one found.

    A plugin that cannot be imported is named once, in a warning, and the others go on.
    """
    global _loaded
    load_own()
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
    plugin = Plugin(entry.name, distribution, entry.value, error)
    if error is not None:
        warnings.warn(plugin.complaint(), stacklevel=2)
    return plugin

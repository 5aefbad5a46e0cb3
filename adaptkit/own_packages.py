"""Finding our other packages beside this one, even if a folder of the user's has their names.

They are called `trainers`, `datasets_fewshot` and `configs`. Repositories that descend from CoOp have a `trainers` and
a `configs` of their own, which stand first on the path of everyone who works in them.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("trainers", "datasets_fewshot", "configs")


def find_own_packages() -> None:
    """Let later imports of our other packages find ours.

    Raises:
        ImportError: if another package of such a name is imported already; the message names both.
    """
    for name in PACKAGES:
        loaded = sys.modules.get(name)
        if loaded is not None and not _is_ours(loaded.__spec__):
            place = getattr(loaded, "__file__", None) or ", ".join(getattr(loaded, "__path__", ()))
            raise ImportError(
                f"{place} is imported as {name!r} and hides adaptkit's own {ROOT / name}; call adaptkit before that "
                "package is imported, or rename it"
            )
    if any(name not in sys.modules and not _is_ours(importlib.util.find_spec(name)) for name in PACKAGES):
        sys.path.insert(0, str(ROOT))  # Processes started from here need the path, too.
        importlib.invalidate_caches()


def _is_ours(spec: "importlib.machinery.ModuleSpec | None") -> bool:
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return any(Path(place).resolve().is_relative_to(ROOT) for place in places)


def command() -> Callable[[], int]:
    """The function behind the `adaptkit` command, offered by the distribution's trainers as a console script.

    Raises:
        ImportError: if no installed distribution offers it.
    """
    found = list(entry_points(group="console_scripts", name="adaptkit"))
    if not found:
        raise ImportError(
            "the adaptkit command is not installed; install adaptkit-clip anew: pip install . from its folder"
        )
    find_own_packages()
    run: Callable[[], int] = found[0].load()
    return run

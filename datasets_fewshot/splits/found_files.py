"""Find the images of a split on disk, also where a mirror writes names in another case or nests a folder in itself."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from datasets_fewshot.dataset import Split
from datasets_fewshot.splits.validation import missing_files, refuse_missing


def find_files(split: Split, image_root: Path, where: str) -> dict[str, str]:
    """Map path in the lists -> path below `image_root`, for those images that lie elsewhere than the lists say.

    A name is taken in another case where only one differs in nothing else (`1.JPG` for `1.jpg`), and a folder in
    another one of its name (`cars_train/cars_train`).

    Raises:
        SplitError: if images are missing, with their number and the first five.
    """
    absent = missing_files(split, image_root)
    if not absent:
        return {}
    locate = _locator(image_root)
    moved = {path: found for path in absent if (found := locate(path)) is not None}
    refuse_missing([path for path in absent if path not in moved], split, image_root, where)
    return moved


def _locator(image_root: Path) -> Callable[[str], str | None]:
    """Function from a path in the lists to the path on disk, or None; every folder is listed once."""

    @cache
    def names(folder: str) -> dict[str, list[str]]:
        try:
            listed = [path.name for path in (image_root / folder).iterdir()]
        except OSError:
            return {}
        by_folded: dict[str, list[str]] = {}
        for name in listed:
            by_folded.setdefault(name.casefold(), []).append(name)
        return by_folded

    def named(folder: str, name: str) -> str | None:
        alike = names(folder).get(name.casefold(), [])
        chosen = name if name in alike else alike[0] if len(alike) == 1 else None
        return chosen and f"{folder}/{chosen}".removeprefix("/")

    @cache
    def folder_of(path: str) -> str | None:
        if not path:
            return ""
        parent, _, name = path.rpartition("/")
        above = folder_of(parent)
        return None if above is None else below(above, name)

    def below(folder: str, name: str) -> str | None:
        own_name = folder.rpartition("/")[2]
        inner = named(folder, own_name) if own_name else None
        return named(folder, name) or (named(inner, name) if inner else None)

    def locate(path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        found = folder_of(folder)
        return None if found is None else below(found, name)

    return locate

"""The folder in which the pages' code runs."""

import shutil
import sys
import types
from pathlib import Path

import pytest

from datasets_fewshot import load_dataset
from tests.helpers.registrations import forget_registrations

PHOTO_CLASSES, PHOTOS = 3, 8


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/CLASS/NUMBER.png and photo.jpg, as the pages take them for granted."""
    folder = tmp_path_factory.mktemp("photos")
    dataset = load_dataset("icons")
    for label in range(PHOTO_CLASSES):
        items = [item for part in dataset.split for item in part if item.label == label][:PHOTOS]
        for number, item in enumerate(items):
            place = folder / "photos" / item.classname / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            dataset.load(item).save(place)
    dataset.load(items[0]).convert("RGB").save(folder / "photo.jpg")
    return folder


@pytest.fixture
def world(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> types.ModuleType:
    """A module to run in, in a folder of its own; what a page registers is forgotten behind it."""
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTKIT_CACHE", str(photos / "cache"))
    forget_registrations(monkeypatch)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    return module

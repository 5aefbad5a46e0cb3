"""Folders of own images for the tests of this folder, and a cache of their own."""

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ADAPTKIT_CACHE", str(folder))
    return folder


@pytest.fixture
def folders(tmp_path) -> Path:
    """Three class folders with eight images each, all different, with names that differ between the folders."""
    for place, name in enumerate(("bear", "camel", "cat")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for shot in range(8):
            Image.new("RGB", (8, 6), (place * 40, shot * 9, 0)).save(
                tmp_path / "photos" / name / f"{name[0]}{place}{shot}.png"
            )
    return tmp_path / "photos"

"""A folder of images for the tests of this folder."""

from pathlib import Path

import pytest
from PIL import Image

IMAGES = 6


@pytest.fixture
def home(tmp_path) -> Path:
    """A folder with img/0.png to img/5.png, all different."""
    (tmp_path / "img").mkdir()
    for number in range(IMAGES):
        Image.new("RGB", (8, 6), (number * 40, 0, 9)).save(tmp_path / "img" / f"{number}.png")
    return tmp_path

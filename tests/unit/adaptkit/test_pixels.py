"""Training and prediction see the same pixels of every file, and none of them is black without a reason."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptkit import pixels
from adaptkit.contract.prediction import read_image
from datasets_fewshot import load_image


def save(folder: Path, kind: str) -> Path:
    """A grey image of one kind, 300 rows high so that it is converted in two strips."""
    shape = (300, 8)
    ramp = np.linspace(0, 1, 2400, dtype=np.float32).reshape(shape)
    eight = Image.fromarray((ramp * 255).round().astype(np.uint8))
    images = {
        "unit.tif": Image.fromarray(ramp),
        "byte.tif": Image.fromarray(ramp * 255),
        "word.tif": Image.fromarray(ramp * 65535),
        "16.png": Image.fromarray((ramp * 65535).round().astype(np.uint16)),
        "8in16.png": Image.fromarray((ramp * 255).round().astype(np.uint16)),
        "32.tif": Image.fromarray((ramp * 65535).round().astype(np.int32)),
        "grey.png": eight,
        "palette.png": eight.convert("P"),
        "cmyk.tif": eight.convert("CMYK"),
        "alpha.png": eight.convert("LA"),
        "turned.jpg": eight.convert("RGB").rotate(-90, expand=True),
        "moving.gif": eight,
    }
    options = {
        "turned.jpg": {"quality": 100, "exif": turned()},
        "moving.gif": {"save_all": True, "append_images": [eight]},
    }
    images[kind].save(folder / kind, **options.get(kind, {}))
    return folder / kind


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 8
    return exif


KINDS = ["unit.tif", "byte.tif", "word.tif", "16.png", "8in16.png", "32.tif", "grey.png", "palette.png", "cmyk.tif"]
KINDS += ["alpha.png", "turned.jpg", "moving.gif"]


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_prediction_read_the_same_pixels(tmp_path, kind):
    path = save(tmp_path, kind)
    trained, predicted = load_image(path, "upright"), read_image(path)
    assert trained.tobytes() == predicted.tobytes()
    assert trained.size == (8, 300)
    expected = np.linspace(0, 255, 2400).reshape(300, 8)
    assert np.abs(np.asarray(trained).astype(float).mean(axis=2) - expected).max() < 3


def test_damaged_facts_about_a_photo_leave_it_as_it_lies(monkeypatch):
    def fail(image: Image.Image) -> Image.Image:
        raise TypeError("a tuple where a number belongs")

    monkeypatch.setattr(pixels.ImageOps, "exif_transpose", fail)
    assert pixels.upright(Image.new("L", (4, 3), 9)).getpixel((0, 0)) == (9, 9, 9)

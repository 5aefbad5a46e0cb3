"""Near duplicates: the same picture in another size or format is found, another picture is not."""

import io

import numpy as np
import pytest
from PIL import Image

from datasets_fewshot import load_dataset
from trainers.suggest.alike import alike, groups_of, thumbnail


def rows_of(images):
    return np.stack([thumbnail(image) for image in images])


def pictures(count, name="emoji_food"):
    dataset = load_dataset(name)
    return [dataset.load(item) for item in dataset.split.train[:count]]


def as_jpeg(image):
    content = io.BytesIO()
    image.save(content, "JPEG", quality=60)
    return Image.open(content)


def test_copies_are_found_and_nothing_else():
    own = pictures(40)
    copies = [as_jpeg(own[0]), own[1].resize((150, 150), Image.Resampling.BICUBIC), own[2]]
    found = {(pair.first, pair.second) for pair in alike(rows_of([*own, *copies]))}
    assert {(0, 40), (1, 41), (2, 42)} <= found
    assert found == {(0, 40), (1, 41), (2, 42)}


def test_the_same_pixels_are_of_similarity_one():
    (pair,) = alike(rows_of([pictures(1)[0]] * 2))
    assert pair.similarity > 0.9999


def test_images_of_one_colour_are_told_by_it():
    red, same, blue = (Image.new("RGB", (30, 30), colour) for colour in ("red", (255, 0, 0), "blue"))
    assert [(pair.first, pair.second) for pair in alike(rows_of([red, blue, same]))] == [(0, 2)]


def test_many_images_are_compared_in_parts(monkeypatch):
    rows = rows_of(pictures(30) + pictures(3))
    whole = alike(rows)
    monkeypatch.setattr("trainers.suggest.alike.ROWS", 7)
    assert [(pair.first, pair.second) for pair in alike(rows)] == [(pair.first, pair.second) for pair in whole]
    assert len(whole) == 3


def test_a_chain_of_copies_is_one_group():
    rows = rows_of([image for image in pictures(3) for _ in range(2)])
    assert groups_of(6, alike(rows)).tolist() == [0, 0, 2, 2, 4, 4]


def test_no_two_colours_are_copies():
    shades = [
        Image.new("RGB", (9, 9), (40 * red, 40 * green, 40 * blue))
        for red in range(6)
        for green in range(6)
        for blue in range(6)
    ]
    assert alike(rows_of(shades)) == []


def test_pairs_without_end_are_refused_in_words(monkeypatch):
    monkeypatch.setattr("trainers.suggest.alike.MOST_PAIRS", 14)
    rows = rows_of([Image.new("RGB", (30, 30), "white")] * 6)
    with pytest.raises(ValueError, match="more than 14 pairs of the 6 images are copies"):
        alike(rows)


def test_pictures_on_paper_of_one_colour_are_no_copies():
    rng = np.random.default_rng(0)
    red = [rng.integers(0, 40, (48, 48, 3)) + np.array([200, 20, 20]) for _ in range(6)]
    pictures = [Image.fromarray(pixels.astype(np.uint8)) for pixels in red]
    brighter = Image.fromarray((red[0] + 12).astype(np.uint8))
    assert [(pair.first, pair.second) for pair in alike(rows_of([*pictures, brighter]))] == [(0, 6)]

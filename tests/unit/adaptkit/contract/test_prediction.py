"""`method.predict`: images of every kind in, names with probabilities out."""

import numpy as np
import pytest
import torch
from PIL import Image

from adaptkit import create_method
from adaptkit.contract.prediction import read_image
from datasets_fewshot.images.read import load_image
from tests.conftest import CLASSES


@pytest.fixture
def method(tiny_clip):
    return create_method("coop", tiny_clip, CLASSES, n_ctx=2)


def picture(seed: int = 0, size: tuple[int, int] = (40, 50)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def test_it_says_what_the_logits_say(method, batch):
    method.eval()
    with torch.no_grad():
        probabilities = method(batch[0]).softmax(dim=-1)
    for row, prediction in zip(probabilities, method.predict(batch[0], topk=9), strict=True):
        assert prediction.label == CLASSES[row.argmax()]
        assert prediction.probability == pytest.approx(float(row.max()), abs=1e-5)
        assert sum(prediction.probabilities) == pytest.approx(1)
        assert sorted(prediction.labels) == sorted(CLASSES)


def test_paths_pil_images_and_tensors_agree(method, tmp_path):
    images = [picture(seed) for seed in range(3)]
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    expected = method.predict(torch.stack([method.backbone.preprocess(image) for image in images]))
    assert method.predict(images) == expected
    assert method.predict(paths) == method.predict([str(path) for path in paths]) == expected
    assert method.predict(paths[0]) == method.predict(images[0]) == method.predict(paths[:1])


def test_pixels_in_arrays_and_tensors_are_the_picture_that_they_show(method):
    image = picture()
    pixels = np.asarray(image)
    channels_first = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    made = method.backbone.preprocess(image)
    (expected,) = method.predict(image)
    stacks = (pixels[None], channels_first[None], made[None], made[None].numpy())
    for given in (pixels, channels_first, pixels / 255, (pixels / 255).astype(np.float32), made, made.numpy(), *stacks):
        assert method.predict(given) == method.predict([given]) == [expected]
    mixed = (image, pixels, channels_first, made, pixels / 255)
    assert method.predict(mixed) == method.predict(iter(mixed))
    assert [prediction.labels for prediction in method.predict(mixed)] == [expected.labels] * 5
    grey = image.convert("L")
    for given in (np.asarray(grey), np.asarray(grey)[..., None], torch.from_numpy(np.asarray(grey).copy())[None]):
        assert method.predict([given]) == method.predict(grey)
    seen_through = image.convert("RGBA")
    seen_through.putalpha(Image.linear_gradient("L").resize(image.size))
    assert method.predict(np.asarray(seen_through)) == method.predict(seen_through)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (torch.zeros(3, 32, 32, dtype=torch.bool), "images are bool; give uint8 pixels"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.int64), "images are int64"),
        (torch.zeros(3, 32, 32, dtype=torch.complex64), "images are complex64"),
        (torch.full((3, 32, 32), torch.nan), "images hold nan"),
        (torch.full((1, 3, 32, 32), torch.inf), "images hold inf"),
        (255 * torch.ones(1, 3, 32, 32), "float images reach 255, so they are not preprocessed"),
        (torch.zeros(40, 50, 3, dtype=torch.uint8), r"channels last: use permute\(2, 0, 1\)"),
        (np.zeros((3, 40, 50), np.uint8), r"channels first: use transpose\(1, 2, 0\)"),
        (np.zeros((40, 50, 3), np.int64), "an array of int64 is no picture"),
        (np.zeros((40, 50, 3), bool), "an array of bool is no picture"),
        (np.full((40, 50, 3), 255.0), "an array of floats from 255 to 255 is no picture"),
        (np.full((40, 50, 3), np.nan), "an array of floats from nan to nan is no picture"),
        (np.zeros((0, 50, 3), np.uint8), "is no picture"),
        (5, r"'5' \(int\) is no image"),
        (None, "NoneType is no image"),
        (b"image", "bytes is no image"),
    ],
    ids=str,
)
def test_types_and_numbers_that_no_image_has_are_refused(given, complaint, method):
    for images in (given, [given]):
        with pytest.raises(ValueError, match=complaint):
            method.predict(images)


def test_floats_that_may_be_pixels_are_said(method):
    with pytest.warns(UserWarning, match="taken as preprocessed; if they are pixels"):
        method.predict(torch.rand(2, 3, 32, 32))


def test_answers_that_are_not_finite_are_no_predictions(method, batch):
    next(iter(method.learnt_parameters().values())).data.fill_(torch.nan)
    with pytest.raises(ValueError, match="numbers that are not finite"):
        method.predict(batch[0])


def test_batches_do_not_change_the_answer(method, batch):
    for whole, one in zip(method.predict(batch[0]), method.predict(batch[0], batch_size=1), strict=True):
        assert whole.labels == one.labels
        assert whole.probabilities == pytest.approx(one.probabilities, abs=1e-5)


def test_the_method_stays_in_the_mode_it_was_in(method, batch):
    for mode in (True, False):
        method.train(mode).predict(batch[0])
        assert method.training is mode


def test_one_class_is_certain(tiny_clip, batch):
    assert create_method("zero_shot", tiny_clip, ["cat"]).predict(batch[0][:1])[0].probability == 1


def test_no_images_are_no_predictions(method):
    assert method.predict([]) == []


def test_what_cannot_be_classified_is_refused(method, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png.*as an image"):
        method.predict(tmp_path / "text.png")
    with pytest.raises(ValueError, match=r"none\.png"):
        method.predict([tmp_path / "none.png"])
    with pytest.raises(ValueError, match=r"expected \(B, 3, 32, 32\)"):
        method.predict(torch.zeros(3, 40, 32))
    with pytest.raises(ValueError, match="topk=0"):
        method.predict(picture(), topk=0)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "turned", "transparent P"])
def test_files_are_read_as_a_folder_of_own_images_is(kind, tmp_path):
    image, path, options = picture(), tmp_path / "image.png", {}
    if kind == "I;16":
        image = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (40, 50), dtype=np.uint16))
    elif kind == "turned":
        path, exif = tmp_path / "image.jpg", Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif}
    elif kind == "transparent P":
        image, options = image.convert("P"), {"transparency": 3}
    elif kind == "CMYK":
        image, path = image.convert("CMYK"), tmp_path / "image.tif"
    elif kind in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        image = image.convert(kind)
    else:
        image = image.convert(kind)
    image.save(path, **options)
    ours = read_image(path)
    assert ours.mode == "RGB"
    assert ours.tobytes() == load_image(path, "upright").tobytes()
    assert ours.size == load_image(path, "upright").size


@pytest.mark.parametrize(
    "asked",
    [
        {"topk": 0},
        {"topk": 2.5},
        {"topk": "3"},
        {"topk": True},
        {"reject": 1.01},
        {"reject": -0.1},
        {"reject": float("nan")},
        {"reject": "0.8"},
        {"scores": "sigmoid"},
        {"offset": 1.0},
        {"scores": "independent", "offset": float("inf")},
        {"scores": "independent", "offset": "a"},
    ],
)
def test_an_answer_that_there_cannot_be_is_refused_with_its_value(method, batch, asked):
    name, value = list(asked.items())[-1]
    with pytest.raises(ValueError, match=f"{name}={value!r}".replace("'", ".")):
        method.predict(batch[0], **asked)


@pytest.mark.parametrize("number", [float, np.float64, np.float32])
def test_a_threshold_is_one_in_every_kind_of_number(method, batch, number):
    assert all(found.rejected for found in method.predict(batch[0], reject=number(1.0)))

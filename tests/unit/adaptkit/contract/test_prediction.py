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
        method.predict(torch.zeros(3, 32, 32))
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

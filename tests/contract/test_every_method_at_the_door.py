"""What every registered method does with unusual input: pixels, no images, half precision, damaged learnt tensors."""

import dataclasses
import functools
import json
import re
from typing import Literal, get_args, get_origin

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import adaptkit
from adaptkit import Support, create_method, list_methods, list_wrappers, method_config
from adaptkit.artefacts.config import ArtefactError
from adaptkit.options import declared
from tests.conftest import CLASSES
from tests.helpers.composition import learner_inside
from tests.helpers.models import build, consumed


def made(name, backbone, batch, wrap=(), **options):
    torch.manual_seed(0)
    method = create_method(name, backbone, CLASSES, wrap=wrap, **options)
    method.prepare(Support(consumed(method, batch[0]), batch[1]))
    return method.eval()


@functools.cache
def built(family):
    return build(family)


@pytest.fixture(scope="module")
def pixels():
    return torch.randint(0, 256, (4, 3, 40, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", list_methods())
def test_pixels_are_what_their_picture_is(name, tiny_clip, batch, pixels):
    method = made(name, tiny_clip, batch)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]
    images = torch.stack([tiny_clip.preprocess(picture) for picture in pictures])
    with torch.no_grad():
        assert torch.equal(method(pixels), method(images))
        assert torch.equal(method.encode_image(pixels), method.encode_image(images))
        if method.consumes == "images":
            labels = torch.tensor([0, 1, 2, 3])
            assert torch.equal(method.loss(pixels, labels), method.loss(images, labels))
    assert method.predict(pixels) == method.predict(pictures)


@pytest.mark.parametrize("name", list_methods())
@pytest.mark.parametrize("kind", ["bool", "int64", "complex64", "nan", "inf", "unscaled"])
def test_images_of_another_type_or_not_finite_are_refused(name, kind, tiny_clip, batch):
    method = made(name, tiny_clip, batch)
    images = torch.zeros(1, 3, 32, 32)
    given = {
        "nan": images + torch.nan,
        "inf": images - torch.inf,
        "unscaled": images + 255,
    }
    wrong = given[kind] if kind in given else images.to(getattr(torch, kind))
    for use in (method, method.predict, method.encode_image):
        with pytest.raises(ValueError, match=r"images (are|hold|reach)"):
            use(wrong)


@pytest.mark.parametrize("family", ["clip_vit", "modified_resnet", "timm_tower"])
@pytest.mark.parametrize("name", list_methods())
def test_preprocessed_images_of_another_size_are_refused_with_both_sizes(name, family):
    backbone = built(family)
    try:
        method = create_method(name, backbone, CLASSES).eval()
    except ValueError as refusal:
        pytest.skip(f"refused: {refusal}")
    height, width = backbone.preprocess_cfg.image_size
    for use in (method, method.predict, method.encode_image):
        for images in (torch.zeros(2, 3, 2 * height, width), torch.zeros(1, 3, 7, 5)):
            with pytest.raises(ValueError, match=rf"{images.shape[2]}, {images.shape[3]}\); .*3, {height}, {width}\)"):
                use(images)


@pytest.mark.parametrize("name", list_methods())
def test_no_images_have_no_answers(name, tiny_clip, batch):
    method = made(name, tiny_clip, batch)
    none = batch[0][:0]
    with torch.no_grad():
        assert method(none).shape == method.logits(consumed(method, none)).shape == (0, len(CLASSES))
    assert method.predict(none) == method.predict([]) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", list_methods())
def test_it_answers_alike_in_half_precision(name, dtype, batch):
    method = made(name, build("clip_vit"), batch)
    with torch.no_grad():
        expected = method(batch[0])
        method.to(dtype)
        for images in (batch[0], batch[0].to(dtype)):
            found = method(images).float()
            assert (found - expected).abs().max() < 0.05 * expected.abs().max()
    x = consumed(method, batch[0])
    loss = method.loss(x, batch[1])
    if loss.requires_grad:
        loss.backward()
    method.tune(Support(x, batch[1]))
    assert len(method.predict(batch[0])) == len(batch[0])


DAMAGE = {
    "nan": lambda tensor: torch.full_like(tensor, torch.nan),
    "3e38": lambda tensor: torch.full_like(tensor, 3e38),
    "int": lambda tensor: tensor.to(torch.int32),
    "bool": lambda tensor: tensor.bool(),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        *((name, ()) for name in list_methods()),
        *((learner_inside(wrapper), (wrapper,)) for wrapper in list_wrappers()),
    ],
)
def test_a_damaged_tensor_is_refused(name, wrap, damage, tiny_clip, batch, tmp_path):
    method = made(name, tiny_clip, batch, wrap)
    folder = method.save_pretrained(tmp_path / "adapter")
    saved = load_file(folder / "learnt.safetensors")
    for tensor_name, tensor in saved.items():
        if not tensor.is_floating_point():
            continue
        named = re.escape(tensor_name.removeprefix("inner."))  # a wrapper's method tells of its own tensors
        damaged = {**saved, tensor_name: DAMAGE[damage](tensor)}
        save_file(damaged, folder / "learnt.safetensors")
        with pytest.raises(ArtefactError, match=named):
            adaptkit.load(folder, tiny_clip)
        state = method.state_dict()
        if tensor_name in state:
            before = method.learnt_state()
            with pytest.raises(ValueError, match=named):
                method.load_state_dict({**state, tensor_name: damaged[tensor_name]})
            assert all(torch.equal(method.learnt_state()[key], value) for key, value in before.items())
        break


def values_to_try(hint, default):
    """Values of an option beside its default, whether they are allowed or not."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    kinds = {
        bool: [not default],
        int: [0, 1, 2],
        float: [0, 0.5, 1, 2.5],
        str: ["", "a photo of a", "a picture of {}."],
    }
    return [*kinds.get(hint, []), "text", True, 1, (0, 1), None]


@pytest.mark.parametrize("name", list_methods())
def test_every_option_that_it_is_made_with_is_saved_and_loaded(name, tiny_clip, batch, tmp_path):
    config = method_config(name)
    tried = 0
    for option, declaration in declared(config).items():
        for value in values_to_try(declaration.hint, getattr(config(), option)):
            try:
                method = create_method(name, tiny_clip, CLASSES, **{option: value})
            except (ValueError, ImportError, FileNotFoundError) as refusal:
                assert len(str(refusal)) > 20, "a refusal says what was expected"
                continue
            loaded = adaptkit.load(method.save_pretrained(tmp_path / "adapter"), tiny_clip)
            portable = method.portable_options(method.spec.config)
            assert loaded.spec.config == portable
            written = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["method"]["options"]
            assert written[option] == json.loads(json.dumps(dataclasses.asdict(portable)[option]))
            tried += 1
    assert tried or not declared(config)

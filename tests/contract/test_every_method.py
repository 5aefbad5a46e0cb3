"""What every registered method promises, on every family of backbones; there is no list to edit here."""

import functools
import re
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adaptkit import AdaptedCLIP, FrozenCLIP, Support, create_method, list_methods, method_class, method_config
from adaptkit.options import declared
from adaptkit.towers.tree_encoder import TreeEncoder
from tests.conftest import CLASSES
from tests.helpers.models import build, consumed

FAMILIES = {"clip_vit": 32, "modified_resnet": 64, "timm_tower": 64, "siglip_style": 64}  # image size in pixels
NOVEL = ("tabby cat", "violin", "sushi")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[FrozenCLIP, Tensor, Tensor]:
    """A backbone, images (10, 3, H, W) and labels (10,), two of each class."""
    size = FAMILIES[request.param]
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(len(CLASSES)).repeat(2)
    images = torch.randn(len(CLASSES), 3, size, size, generator=generator)[labels]
    return build(request.param), images + 0.1 * torch.randn(images.shape, generator=generator), labels


def made(name: str, backbone: FrozenCLIP) -> AdaptedCLIP:
    """The method, or a skip where the backbone lacks what it needs: then the refusal is what is tested."""
    torch.manual_seed(0)
    try:
        return create_method(name, backbone, CLASSES)
    except ValueError as refusal:
        assert backbone.name in str(refusal), f"the refusal does not name the backbone: {refusal}"
        pytest.skip(f"refused: {refusal}")


def prepared(name: str, backbone: FrozenCLIP, images: Tensor, labels: Tensor) -> tuple[AdaptedCLIP, Tensor]:
    method = made(name, backbone)
    x = consumed(method, images)
    method.prepare(Support(x, labels))
    return method, x


@pytest.fixture(scope="module")
def ready(family: tuple[FrozenCLIP, Tensor, Tensor]) -> Callable[..., tuple[AdaptedCLIP, Tensor]]:
    """(name, steps) -> the method after so many steps, and its input: made once, for tests that only read it."""

    @functools.cache
    def made_once(name: str, steps: int) -> tuple[AdaptedCLIP, Tensor]:
        backbone, images, labels = family
        method, x = prepared(name, backbone, images, labels)
        if steps:
            train(method.train(), x, labels, steps=steps)
        return method, x

    def of(name: str, steps: int = 0) -> tuple[AdaptedCLIP, Tensor]:
        method, x = made_once(name, steps)
        return method.train(), x

    return of


def train(method: AdaptedCLIP, x: Tensor, labels: Tensor, steps: int = 4, rate: float = 2e-3) -> list[float]:
    learnt = list(method.learnt_parameters().values())
    optimizer = torch.optim.Adam(learnt, lr=rate) if learnt else None
    losses = []
    for _ in range(steps):
        if optimizer is not None:
            optimizer.zero_grad()
        losses.append(float(method.backward(x, labels)))
        if optimizer is not None:
            optimizer.step()
    method.after_epoch(0)
    return losses


@pytest.mark.parametrize("name", list_methods())
def test_it_works_or_says_what_the_backbone_lacks(name, family, ready):
    _, images, _ = family
    method, x = ready(name)
    method.eval()
    with torch.no_grad():
        logits, forward = method.logits(x), method(images)
    assert logits.shape == (len(images), len(CLASSES))
    assert logits.isfinite().all()
    torch.testing.assert_close(forward, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list_methods())
def test_it_learns_a_batch_and_leaves_the_backbone_untouched(name, family):
    backbone, images, labels = family
    before = [(parameter, parameter.clone()) for parameter in backbone.parameters()]
    method, x = prepared(name, backbone, images, labels)
    method.train()
    losses = train(method, x, labels)
    assert all(torch.equal(parameter, value) for parameter, value in before)
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert torch.isfinite(torch.tensor(losses)).all()
    if method.learnt_parameters():
        fits_in_advance = "prepare" in method.provides  # then it may stand at its optimum already
        assert losses[-1] < losses[0] or (fits_in_advance and losses[-1] < 1.001 * losses[0])


@pytest.mark.parametrize("name", list_methods())
def test_its_loss_is_the_cross_entropy_of_its_logits_and_its_regularizer(name, family, ready):
    _, _, labels = family
    method, x = ready(name, steps=2)
    method.eval()
    if not method.learns_from_labels:
        with torch.no_grad():
            assert torch.equal(method.loss(x, labels), method.loss(x, labels.roll(1)))
        assert method.regularizer(x, labels) is None, "there is no cross-entropy to add it to"
        return
    with torch.no_grad():
        added = method.regularizer(x, labels)
        logits = method.inner.logits(x) if method.sees else method.logits(x)  # nothing at test time is trained
        expected = torch.nn.functional.cross_entropy(logits, labels) + (0 if added is None else added)
        torch.testing.assert_close(method.loss(x, labels), expected.to(method.loss(x, labels).dtype))


@pytest.mark.parametrize("name", list_methods())
def test_rows_of_its_image_tower_give_its_logits(name, family, ready):
    backbone, images, _ = family
    method, _ = ready(name)
    if not (method.hands_out_tokens() and backbone.has_vit_blocks):
        with pytest.raises((TypeError, ValueError)):
            method.image_tokens(images)
        return
    method.eval()
    with torch.no_grad():
        assert torch.equal(method.logits_of_tokens(method.image_tokens(images)), method(images))


@pytest.mark.parametrize("name", list_methods())
def test_image_features_of_its_input_are_those_of_its_images(name, family, ready):
    _, images, _ = family
    method, x = ready(name, steps=2)
    method.eval()
    with torch.no_grad():
        torch.testing.assert_close(method.image_features_of(x), method.encode_image(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list_methods())
def test_one_backbone_serves_many_methods(name, family):
    backbone, images, labels = family
    with torch.no_grad():
        before = backbone.encode_image(images[:2]), backbone.encode_text(["a photo of a cat."])
    method, x = prepared(name, backbone, images, labels)
    train(method.train(), x, labels, steps=2)
    with torch.no_grad():
        after = backbone.encode_image(images[:2]), backbone.encode_text(["a photo of a cat."])
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", list_methods())
def test_learnt_tensors_alone_restore_it(name, family, ready):
    backbone, _, labels = family
    method, x = ready(name, steps=2)
    torch.manual_seed(1)  # another start
    other = create_method(name, backbone, CLASSES)
    other.prepare(Support(x, labels))
    other.load_learnt_state(method.learnt_state())
    with torch.no_grad():
        torch.testing.assert_close(other.eval().logits(x), method.eval().logits(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", list_methods())
def test_other_classes_are_told_apart_or_refused_with_a_reason(name, family):
    backbone, images, labels = family
    method, x = prepared(name, backbone, images, labels)
    learnt = method.learnt_state()
    if method.bound_to_classes is not None:
        with pytest.raises(TypeError, match=re.escape(method.bound_to_classes)):
            method.set_classes(NOVEL)
        assert len(method.bound_to_classes) > 30  # a sentence
        assert method.logits(x).shape[1] == len(CLASSES)
    else:
        method.set_classes(classnames=NOVEL)
        assert method.eval().logits(x).shape == (len(images), len(NOVEL))
        assert method.classes.classnames == NOVEL
        assert all(torch.equal(value, learnt[key]) for key, value in method.learnt_state().items())


@pytest.mark.parametrize("name", list_methods())
def test_class_weights_are_unit_rows_where_there_are_any(name, family, ready):
    backbone, _, _ = family
    method, x = ready(name)
    if "class_weights" not in method.provides:
        with pytest.raises(TypeError, match=r".{30,}"):
            method.class_weights()
        return
    weights = method.class_weights()
    assert weights.shape == (len(CLASSES), backbone.embed_dim)
    torch.testing.assert_close(weights.norm(dim=-1), torch.ones(len(CLASSES)))
    method.eval()
    with torch.no_grad():
        expected = method.logits(x)
        with method.encode_classes_once():
            torch.testing.assert_close(method.logits(x), expected)


@pytest.mark.parametrize("name", list_methods())
def test_its_encoders_are_what_its_logits_are_made_of(name, family, ready):
    backbone, images, _ = family
    method, _ = ready(name, steps=2)
    method.eval()
    with torch.no_grad():
        encoded = method.encode_image(images)
        assert encoded.shape == (len(images), backbone.embed_dim)
        if "class_weights" in method.provides:
            torch.testing.assert_close(
                backbone.logits(encoded, method.class_weights()), method(images), rtol=1e-4, atol=1e-4
            )


@pytest.mark.parametrize("name", list_methods())
def test_texts_in_the_place_of_names_give_the_class_weights(name, family, ready):
    backbone, _, _ = family
    method, _ = ready(name, steps=2)
    method.eval()
    if "encode_text" not in method.provides:
        with pytest.raises(TypeError, match=r".{30,}"):
            method.encode_text(["a photo of a cat."])
        with pytest.raises(ValueError, match="learns what belongs to classes"):
            create_method(name, backbone, None)
        return
    if "class_weights" not in method.provides:
        return
    template = method.classes.templates[0]
    sentences = [template.format(readable) for readable in method.classes.readable]
    with torch.no_grad():
        weights = method.class_weights()
        encoded = [
            torch.nn.functional.normalize(method.encode_text(texts), dim=-1)
            for texts in (
                method.classes.readable,  # a prompt learner has its own words around the name
                sentences,
            )
        ]
    assert any(torch.allclose(features.to(weights), weights, rtol=1e-4, atol=1e-4) for features in encoded)
    assert method.encode_text([]).shape == (0, backbone.embed_dim)


@pytest.mark.parametrize("name", list_methods())
def test_it_adapts_towers_before_it_has_classes(name, family):
    backbone, images, _ = family
    made(name, backbone)
    if "encode_text" not in method_class(name).provides:
        pytest.skip("what it learns belongs to classes, which it says: see the test above")
    torch.manual_seed(0)
    method = create_method(name, backbone, None)
    torch.manual_seed(0)
    other = create_method(name, backbone, CLASSES)
    with pytest.raises(ValueError, match="no classes"):
        method.predict(images[:1])
    with torch.no_grad():
        assert torch.equal(method.encode_image(images), other.encode_image(images))
        assert torch.equal(method.encode_text(["a cat"]), other.encode_text(["a cat"]))
    method.set_classes(CLASSES)
    with torch.no_grad():
        assert torch.equal(method.eval()(images), other.eval()(images))


@pytest.mark.parametrize("name", [name for name in list_methods() if "ctx_init" in declared(method_config(name))])
def test_underscores_in_the_words_to_start_from_are_spaces(name, tiny_clip, batch):
    images, _ = batch
    logits = []
    for words in ("a photo of a", "a_photo_of_a"):
        torch.manual_seed(0)
        logits.append(create_method(name, tiny_clip, CLASSES, ctx_init=words).eval()(images))
    assert torch.equal(*logits)


@pytest.mark.parametrize("wrap", [(), ("das",)], ids=["alone", "text_tower_learns"])
@pytest.mark.parametrize("name", list_methods())
def test_inside_the_block_classes_are_encoded_once_however_many_batches(name, wrap, tiny_clip, batch, monkeypatch):
    try:
        method = create_method(name, tiny_clip, CLASSES, wrap=wrap)
    except ValueError as refusal:
        pytest.skip(f"refused: {refusal}")
    x = consumed(method, batch[0])
    encodings = []
    forward = TreeEncoder.forward
    monkeypatch.setattr(TreeEncoder, "forward", lambda *given: encodings.append(1) or forward(*given))
    method.eval()
    with torch.no_grad(), method.encode_classes_once():
        at_the_start = len(encodings)
        for _ in range(3):
            method.logits(x)
    if name in ("cocoop", "fdt", "ctp_tft") or method.sees == "episodic":  # prompts or scores of every image
        assert "class_weights" not in method.provides
    else:
        assert at_the_start <= 1
        assert len(encodings) == at_the_start


@pytest.mark.parametrize("name", list_methods())
def test_a_name_is_the_stem_of_its_file_and_of_its_options(name):
    assert name in method_class(name).__module__.split(".")[-2:]  # its file, or its folder
    assert (Path(str(resources.files("configs"))) / "methods" / f"{name}.yaml").is_file()
    doc = sys.modules[method_class(name).__module__].__doc__ or ""
    assert "arXiv" in doc or "https://" in doc  # the paper, or the library that is wrapped
    assert method_config(name)() is not None

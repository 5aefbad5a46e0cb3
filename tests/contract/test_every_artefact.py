"""Every registered method and wrapper is saved and loaded in a fresh backbone to equal logits; no list to edit here."""

import pytest
import torch
from torch import Tensor

import adaptkit
from adaptkit import AdaptedCLIP, FrozenCLIP, Support, create_method, list_methods, list_wrappers
from tests.conftest import CLASSES
from tests.helpers.composition import learner_inside
from tests.helpers.models import build, consumed


@pytest.fixture(scope="module")
def fresh() -> FrozenCLIP:
    """Another backbone with the weights of `tiny_clip`."""
    return build("clip_vit")


def used(name: str, backbone: FrozenCLIP, images: Tensor, labels: Tensor, wrap: tuple[str, ...] = ()) -> AdaptedCLIP:
    """The method after all that a training does to it: prepared, stepped once, averaged, tuned; in training mode."""
    method = create_method(name, backbone, CLASSES, wrap=wrap)
    x = consumed(method, images)
    method.prepare(Support(x, labels))
    method.train()
    for parameter in method.learnt_parameters().values():  # a step of an optimiser may leave zeros where they are
        torch.nn.init.normal_(parameter, std=0.02)
    method.backward(x, labels)
    method.after_epoch(0)
    for parameter in method.learnt_parameters().values():
        parameter.data.add_(0.01)
    method.tune(Support(x, labels))
    return method


@pytest.mark.parametrize("name", list_methods())
def test_it_is_loaded_in_a_fresh_backbone_to_equal_logits(name, tiny_clip, fresh, batch, tmp_path):
    method = used(name, tiny_clip, *batch)
    method.save_pretrained(tmp_path / "adapter")
    assert method.training, "saving leaves the method as it was"
    loaded = adaptkit.load(tmp_path / "adapter", fresh)
    images = batch[0].flip(0)
    with torch.no_grad():
        expected = method.eval()(images)
        assert torch.equal(loaded(images), expected)
        start = create_method(name, fresh, CLASSES).eval()(images)
    learns = method.learnt_parameters() or method.provides & {"prepare", "tune"}
    assert not learns or not torch.equal(start, expected), "there was nothing to restore"


@pytest.mark.parametrize("wrapper", list_wrappers())
def test_a_wrapper_is_loaded_to_equal_logits(wrapper, tiny_clip, fresh, batch, tmp_path):
    for inner in {"coop", "maple", learner_inside(wrapper)}:
        try:
            method = used(inner, tiny_clip, *batch, wrap=(wrapper,))
        except ValueError as refusal:
            assert len(str(refusal)) > 30  # a sentence: the mathematics does not allow it
            continue
        loaded = adaptkit.load(method.save_pretrained(tmp_path / inner), fresh)
        with torch.no_grad():
            assert torch.equal(loaded(batch[0]), method.eval()(batch[0]))


@pytest.mark.parametrize("name", list_methods())
def test_the_config_says_whether_other_names_are_refused(name, tiny_clip, batch, tmp_path):
    method = create_method(name, tiny_clip, CLASSES)
    method.save_pretrained(tmp_path)
    loaded = adaptkit.load(tmp_path, tiny_clip)
    bound = '"bound_to_classes": true' in (tmp_path / "adapter_config.json").read_text()
    if bound:
        with pytest.raises(TypeError):
            loaded.set_classes(["tabby cat"])
    else:
        loaded.set_classes(["tabby cat"])
        assert loaded(batch[0]).shape == (6, 1)


@pytest.mark.parametrize("name", ["maple", "ivlp", "promptsrc"])
def test_an_adapter_whose_phrase_was_dropped_is_loaded_to_equal_logits(name, tiny_clip, batch, tmp_path):
    n_ctx = {"maple": {"n_ctx": 6}}.get(name, {"n_ctx_text": 6})
    method = create_method(name, tiny_clip, CLASSES, ctx_init="", **n_ctx)
    method.save_pretrained(tmp_path)
    config = tmp_path / "adapter_config.json"
    older = config.read_text().replace('"ctx_init": ""', '"ctx_init": "a photo of a"')
    assert older != config.read_text()
    config.write_text(older)
    with torch.no_grad():
        assert torch.equal(adaptkit.load(tmp_path, tiny_clip)(batch[0]), method.eval()(batch[0]))

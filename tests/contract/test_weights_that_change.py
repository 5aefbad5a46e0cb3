"""Weights that change under a method: it answers as one that was made on the new weights, by whichever route they came."""

import copy

import pytest
import torch

from adaptkit import FrozenCLIP, Support, create_method, list_methods, list_wrappers
from adaptkit.backbone.weights_source import hash_of_weights
from tests.conftest import CLASSES
from tests.helpers.models import FAMILIES, build, consumed

LABELS = torch.arange(len(CLASSES))
pytestmark = pytest.mark.slow  # Every method, by every route, takes minutes.


def other_weights(backbone):
    """A state dict of the backbone's model with other numbers."""
    draw = torch.Generator().manual_seed(1)
    state = backbone.model.state_dict()
    return {
        name: value * (1 + 0.2 * torch.rand(value.shape, generator=draw)) if value.is_floating_point() else value
        for name, value in state.items()
    }


def copied(backbone, state):
    backbone.model.load_state_dict(state)


def assigned(backbone, state):
    backbone.model.load_state_dict(state, assign=True)


def through_meta(backbone, state):
    backbone.to("meta")
    backbone.to_empty(device="cpu")
    # Buffers that no state dict holds are lost on the way, as in any module.
    fresh = dict(build(backbone.name).named_buffers())
    for name, buffer in backbone.named_buffers():
        buffer.copy_(fresh[name])
    backbone.model.load_state_dict(state)


def edited(backbone, state):
    with torch.no_grad():
        for name, value in backbone.model.state_dict(keep_vars=True).items():
            value.mul_(state[name] / value).nan_to_num_() if value.is_floating_point() else None


def of_another_type(backbone, state):
    backbone.model.load_state_dict(state)
    backbone.to(torch.float64).to(torch.float32)


ROUTES = {route.__name__: route for route in (copied, assigned, through_meta, edited, of_another_type)}


def ready(name, backbone, images, wrap=()):
    method = create_method(name, backbone, CLASSES, wrap=wrap)
    with torch.no_grad():
        method.prepare(Support(consumed(method, images), LABELS))
    return method.eval()


def answers_as_if_made_anew(method, backbone, make, images):
    fresh = build(backbone.name)
    fresh.model.load_state_dict(backbone.model.state_dict())
    anew = make(fresh)
    anew.load_learnt_state(method.learnt_state())
    with torch.no_grad():
        torch.testing.assert_close(method(images), anew(images), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", list_methods())
def test_a_method_answers_as_if_made_anew(name, route):
    backbone = build("clip_vit")
    images = torch.randn(len(CLASSES), 3, 32, 32)
    method = ready(name, backbone, images)
    with torch.no_grad():
        before = method(images)
    ROUTES[route](backbone, other_weights(build("clip_vit")))
    with torch.no_grad():
        assert not torch.allclose(method(images), before, atol=1e-2)
    answers_as_if_made_anew(method, backbone, lambda fresh: ready(name, fresh, images), images)


@pytest.mark.parametrize("route", ["assigned", "edited"])
@pytest.mark.parametrize("wrapper", list_wrappers())
def test_a_wrapper_answers_as_if_made_anew(wrapper, route):
    backbone = build("clip_vit")
    images = torch.randn(len(CLASSES), 3, 32, 32)
    method = ready("coop", backbone, images, (wrapper,))
    with torch.no_grad():
        method(images)
    ROUTES[route](backbone, other_weights(build("clip_vit")))
    answers_as_if_made_anew(method, backbone, lambda fresh: ready("coop", fresh, images, (wrapper,)), images)


@pytest.mark.parametrize("route", ["copied", "assigned", "edited"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbone_encodes_with_its_new_weights(family, route):
    backbone = build(family)
    size = backbone.preprocess_cfg.image_size
    images = torch.randn(2, 3, *size)
    zero_shot = create_method("zero_shot", backbone, CLASSES)
    coop = create_method("coop", backbone, CLASSES, n_ctx=2)
    ROUTES[route](backbone, other_weights(build(family)))
    fresh = FrozenCLIP(copy.deepcopy(backbone.model), backbone.tokenizer._tokenizer, family)
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode_image(images), fresh.encode_image(images))
        torch.testing.assert_close(zero_shot(images), create_method("zero_shot", fresh, CLASSES)(images))
        anew = create_method("coop", fresh, CLASSES, n_ctx=2)
        anew.load_learnt_state(coop.learnt_state())
        torch.testing.assert_close(coop(images), anew(images))


@pytest.mark.parametrize("name", list_methods())
def test_a_state_dict_of_a_method_on_another_backbone_brings_its_logits(name):
    images = torch.randn(len(CLASSES), 3, 32, 32)
    other = build("clip_vit")
    copied(other, other_weights(other))
    theirs = ready(name, other, images)
    ours = ready(name, build("clip_vit"), images)
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-3)


def test_the_hash_is_of_the_weights_as_they_are():
    backbone = build("clip_vit")
    view = backbone.as_loaded()
    seen = {backbone.weights_hash}
    for change in (
        lambda: backbone.to(torch.float64),
        lambda: backbone.model.ln_final.weight.data.mul_(1) is None or backbone.model.ln_final.bias.add_(1),
        lambda: assigned(backbone, other_weights(backbone)),
    ):
        with torch.no_grad():
            change()
        assert backbone.weights_hash == view.weights_hash == hash_of_weights(backbone.model)
        seen.add(backbone.weights_hash)
    assert len(seen) == 4

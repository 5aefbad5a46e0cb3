"""Weights that change under a method: it answers as one that was made on the new weights, by whichever route."""

import copy

import pytest
import torch

from adaptkit import FrozenCLIP, Support, create_method, list_methods, list_wrappers
from adaptkit.backbone.weights_source import hash_of_weights
from tests.conftest import CLASSES
from tests.helpers.composition import learner_inside
from tests.helpers.models import FAMILIES, build, consumed

LABELS = torch.arange(len(CLASSES))


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


# Every method, by every route, takes minutes; these stand for all in every run.
QUICK = {("coop", "assigned"), ("zero_shot", "edited"), ("kgcoop", "copied"), ("clip_lora", "edited")}


def methods_by_routes():
    for name in list_methods():
        for route in ROUTES:
            yield pytest.param(name, route, marks=() if (name, route) in QUICK else pytest.mark.slow)


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


@pytest.mark.parametrize(("name", "route"), list(methods_by_routes()))
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


@pytest.mark.slow
@pytest.mark.parametrize("route", ["assigned", "edited"])
@pytest.mark.parametrize("wrapper", list_wrappers())
def test_a_wrapper_answers_as_if_made_anew(wrapper, route):
    backbone = build("clip_vit")
    images = torch.randn(len(CLASSES), 3, 32, 32)
    inner = learner_inside(wrapper)
    method = ready(inner, backbone, images, (wrapper,))
    with torch.no_grad():
        method(images)
    ROUTES[route](backbone, other_weights(build("clip_vit")))
    answers_as_if_made_anew(method, backbone, lambda fresh: ready(inner, fresh, images, (wrapper,)), images)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["copied", "assigned", "edited"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbone_encodes_with_its_new_weights(family, route):
    backbone = build(family)
    size = backbone.preprocess_cfg.image_size
    images = torch.randn(2, 3, *size)
    zero_shot = create_method("zero_shot", backbone, CLASSES)
    coop = create_method("coop", backbone, CLASSES, n_ctx=2)
    ROUTES[route](backbone, other_weights(build(family)))
    fresh = FrozenCLIP(copy.deepcopy(backbone.model), backbone.tokenizer.plain, family)
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode_image(images), fresh.encode_image(images))
        torch.testing.assert_close(zero_shot(images), create_method("zero_shot", fresh, CLASSES)(images))
        anew = create_method("coop", fresh, CLASSES, n_ctx=2)
        anew.load_learnt_state(coop.learnt_state())
        torch.testing.assert_close(coop(images), anew(images))


@pytest.mark.slow
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


def edit_one_weight(backbone):
    with torch.no_grad():
        backbone.model.transformer.resblocks[1].mlp.c_fc.weight.mul_(3)


@pytest.mark.parametrize("look", ["train", "no_grad", "eval"])
def test_the_edit_of_one_weight_between_steps_counts_at_the_next_beginning_of_a_training_or_evaluation(look):
    backbone = build("clip_vit")
    method = create_method("taskres", backbone, CLASSES).train()
    features = torch.randn(2, backbone.embed_dim)
    before = method.logits(features)
    edit_one_weight(backbone)
    if look == "no_grad":
        with torch.no_grad():
            after = method.logits(features)
    else:
        after = getattr(method, look)().logits(features)
    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(after, create_method("taskres", backbone, CLASSES).logits(features))


def test_loaded_weights_count_in_the_next_step_of_a_training():
    backbone = build("clip_vit")
    method = create_method("taskres", backbone, CLASSES).train()
    features = torch.randn(2, backbone.embed_dim)
    method.logits(features)
    copied(backbone, other_weights(backbone))
    torch.testing.assert_close(method.logits(features), create_method("taskres", backbone, CLASSES).logits(features))


@pytest.mark.parametrize("name", ["zero_shot", "coop", "clip_lora", "kgcoop", "vpt"])
def test_weights_without_numbers_are_refused(name):
    backbone = build("clip_vit")
    method = create_method(name, backbone, CLASSES).eval()
    backbone.to("meta")
    with pytest.raises(ValueError, match="meta device"), torch.no_grad():
        method(torch.randn(1, 3, 32, 32))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", ["zero_shot", "coop", "clip_lora"])
def test_a_traced_method_answers_as_the_method(name):
    backbone = build("clip_vit")
    method, images = create_method(name, backbone, CLASSES).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        traced = torch.jit.trace(method, images, check_trace=False)
        torch.testing.assert_close(traced(images), method(images))


def test_functions_of_the_learnt_tensors_have_their_gradients():
    method = create_method("coop", build("clip_vit"), CLASSES).eval()
    images, learnt = torch.randn(2, 3, 32, 32), dict(method.learnt_parameters())

    def loss(tensors):
        return torch.func.functional_call(method, tensors, (images,)).square().mean()

    theirs = torch.func.grad(loss)(learnt)
    expected = torch.autograd.grad(method(images).square().mean(), list(learnt.values()))
    torch.testing.assert_close(tuple(theirs.values()), expected)

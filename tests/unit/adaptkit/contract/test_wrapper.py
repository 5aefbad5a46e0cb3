"""MethodWrapper: what a wrapper passes on, and in which order wrappers stand."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from adaptkit import MethodWrapper, Support, create_method, list_wrappers, register_wrapper
from adaptkit.contract.registry import WRAPPERS
from adaptkit.prompts import PromptSRC
from tests.helpers.models import build

CLASSES = ("cat", "dog", "snow leopard")


@dataclass(frozen=True)
class ShiftConfig:
    start: float = 0.0


class Shift(MethodWrapper):
    """Adds a learnt number to the first class's logit."""

    def __init__(self, backbone, make_inner, config):
        super().__init__(backbone, make_inner(backbone))
        self.shift = nn.Parameter(torch.tensor(config.start))

    def logits(self, x):
        inner = super().logits(x)
        return inner + self.shift * nn.functional.one_hot(torch.tensor(0), inner.shape[-1])

    def loss(self, x, labels):
        return nn.functional.cross_entropy(self.logits(x), labels)


class FirstBlockOnly(MethodWrapper):
    """Towers of one block."""

    def __init__(self, backbone, make_inner, config):
        short = backbone.vision_tower.__class__(
            **{**vars(backbone.vision_tower), "blocks": backbone.vision_tower.blocks[:1]}
        )
        view = backbone.with_towers(vision=short)
        super().__init__(view, make_inner(view))
        self.consumes = "images"


@pytest.fixture
def wrappers(monkeypatch):
    monkeypatch.setattr(WRAPPERS, "_entries", {})
    register_wrapper("shift", ShiftConfig)(Shift)
    register_wrapper("short", ShiftConfig)(FirstBlockOnly)


@pytest.fixture(scope="module")
def backbone():
    return build("clip_vit")


IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0])


def test_a_registered_wrapper_is_listed(wrappers):
    assert list_wrappers() == ["shift", "short"]


@pytest.mark.usefixtures("wrappers")
def test_a_wrapper_that_writes_nothing_changes_nothing(backbone):
    torch.manual_seed(0)
    plain = create_method("coop", backbone, CLASSES, n_ctx=2)
    torch.manual_seed(0)
    wrapped = create_method("coop", backbone, CLASSES, wrap=["shift"], n_ctx=2)
    assert torch.equal(plain(IMAGES), wrapped(IMAGES))


@pytest.mark.usefixtures("wrappers")
def test_the_first_wrapper_is_the_outermost_and_hands_its_view_of_the_backbone_on(backbone):
    method = create_method("coop", backbone, CLASSES, wrap=["short", ("shift", ShiftConfig(2.0))])
    assert isinstance(method, FirstBlockOnly)
    assert isinstance(method.inner, Shift)
    assert len(method.inner.inner.backbone.vision_tower.blocks) == 1
    assert len(backbone.vision_tower.blocks) == 3
    assert method.logits(IMAGES).shape == (4, 3)  # images go through the short tower, features reach coop


@pytest.mark.usefixtures("wrappers")
def test_learnt_tensors_of_both_are_kept_and_put_back(backbone):
    method = create_method("tip_adapter", backbone, CLASSES, wrap=["shift"])
    method.prepare(Support(backbone.encode_image(IMAGES), LABELS))
    state = method.learnt_state()
    assert "shift" in state
    assert any(name.startswith("inner.") for name in state)
    other = create_method("tip_adapter", backbone, CLASSES, wrap=[("shift", ShiftConfig(5.0))])
    other.prepare(Support(backbone.encode_image(IMAGES).flip(0), LABELS.flip(0)))
    other.load_learnt_state(state)
    torch.testing.assert_close(other(IMAGES), method(IMAGES))
    with pytest.raises(ValueError, match="do not belong here"):
        other.load_learnt_state({"inner.shift": state["shift"]})


@pytest.mark.usefixtures("wrappers")
def test_the_inner_method_keeps_its_optional_parts(backbone):
    assert "prepare" in create_method("tip_adapter", backbone, CLASSES, wrap=["shift"]).provides
    assert "prepare" not in create_method("coop", backbone, CLASSES, wrap=["shift"]).provides
    assert PromptSRC.after_epoch is not MethodWrapper.after_epoch


@pytest.mark.usefixtures("wrappers")
def test_an_inner_method_finds_its_own_gradients_where_the_wrapper_has_no_loss(backbone):
    method = create_method("prograd", backbone, CLASSES, wrap=["short"], n_ctx=4)
    method.backward(IMAGES, LABELS)
    assert method.inner.context.ctx.grad is not None


@pytest.mark.usefixtures("wrappers")
def test_names_and_options_that_are_not_a_wrappers_are_refused(backbone):
    with pytest.raises(ValueError, match="unknown wrapper 'shfit'; did you mean shift"):
        create_method("coop", backbone, CLASSES, wrap=["shfit"])
    with pytest.raises(ValueError, match="shift takes its options as ShiftConfig, got str"):
        create_method("coop", backbone, CLASSES, wrap=[("shift", "fast")])
    with pytest.raises(ValueError, match="is already"):
        register_wrapper("shift", ShiftConfig)(Shift)


@pytest.mark.usefixtures("wrappers")
def test_other_classes_reach_the_inner_method(backbone):
    method = create_method("coop", backbone, CLASSES, wrap=["shift"], n_ctx=2)
    method.set_classes(("owl", "fox"))
    assert method.classes.classnames == method.inner.classes.classnames == ("owl", "fox")
    assert method(IMAGES).shape == (4, 2)

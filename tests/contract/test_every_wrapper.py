"""What every registered wrapper promises around every registered method; there is no list to edit here."""

from dataclasses import fields
from importlib import resources
from pathlib import Path

import pytest
import torch

from adaptkit import Support, create_method, list_methods, list_wrappers, wrapper_class, wrapper_config
from tests.conftest import CLASSES
from tests.contract.test_every_method import NOVEL, train
from tests.helpers.composition import PAGE, outcome, page, settled
from tests.helpers.models import consumed

EVERY = 4  # Every fourth pair is tried by default, so every method and every wrapper is among them; slow has all.


def pairs():
    """Methods and wrappers. That all can be made, or are refused, is in the page, which is always held against them."""
    for row, method in enumerate(list_methods()):
        for column, wrapper in enumerate(list_wrappers()):
            later = () if (row + column) % EVERY == 0 else pytest.mark.slow
            yield pytest.param(method, wrapper, marks=later)


@pytest.fixture(scope="module")
def examples():
    """Images (10, 3, 32, 32), two of each class, and their labels."""
    labels, generator = torch.arange(len(CLASSES)).repeat(2), torch.Generator().manual_seed(0)
    images = torch.randn(len(CLASSES), 3, 32, 32, generator=generator)[labels]
    return images + 0.1 * torch.randn(images.shape, generator=generator), labels


@pytest.mark.parametrize(("method", "wrapper"), list(pairs()))
def test_a_wrapped_method_learns_saves_and_restores_or_the_reason_is_given(method, wrapper, tiny_clip, examples):
    images, labels = examples
    found = outcome(tiny_clip, method, wrapper)
    if not found.works:
        assert len(found.refusal) > 60, f"no reason: {found.refusal}"
        return
    wrap = settled(tiny_clip, method, found.wrap, images, labels)
    made = create_method(method, tiny_clip, CLASSES, wrap=wrap)
    x = consumed(made, images)
    made.prepare(Support(x, labels))
    with torch.no_grad():
        assert made.eval().logits(x).isfinite().all()
        assert made(images).shape == (len(images), len(CLASSES))
        torch.testing.assert_close(made.image_features_of(x), made.encode_image(images), rtol=1e-4, atol=1e-4)
    fitted = "prepare" in made.provides and float(made.train().loss(x, labels).detach()) < 0.02
    losses = train(
        made.train(), x, labels, steps=8, rate=2e-4 if fitted else 2e-3
    )  # A fit is near its optimum already.
    assert losses[-1] <= 1.001 * losses[0]
    assert all(weight.grad is None for weight in tiny_clip.parameters())

    other = create_method(method, tiny_clip, CLASSES, wrap=wrap)
    other.prepare(Support(x, labels))
    other.load_learnt_state(made.learnt_state())
    with torch.no_grad():
        torch.testing.assert_close(other.eval().logits(x), made.eval().logits(x), rtol=1e-4, atol=1e-4)
    try:
        made.set_classes(NOVEL)
    except TypeError as refusal:
        assert len(str(refusal)) > 30
    else:
        assert made.logits(x).shape == (len(images), len(NOVEL))


@pytest.mark.parametrize("method", ["zero_shot", "coop", "maple"])
@pytest.mark.parametrize("order", [("das", "fdt"), ("fdt", "das")], ids="+".join)
def test_wrappers_stand_around_each_other(order, method, tiny_clip, examples):
    images, labels = examples
    wrap = settled(tiny_clip, method, tuple((name, wrapper_config(name)()) for name in order), images, labels)
    made = create_method(method, tiny_clip, CLASSES, wrap=wrap)
    x = consumed(made, images)
    made.prepare(Support(x, labels))
    losses = train(made.train(), x, labels)
    assert losses[-1] < losses[0]
    assert made.architecture() is not None


def test_the_page_about_composition_says_what_comes_out():
    assert PAGE.read_text() == page(), (
        "docs/composition.md is out of date; write it with python -m tests.helpers.composition"
    )


@pytest.mark.parametrize("name", list_wrappers())
def test_a_name_is_the_stem_of_its_file_and_of_its_options(name):
    assert name in wrapper_class(name).__module__.split(".")[-2:]  # its file, or its folder
    assert (Path(str(resources.files("configs"))) / "wrappers" / f"{name}.yaml").is_file()
    assert fields(wrapper_config(name))

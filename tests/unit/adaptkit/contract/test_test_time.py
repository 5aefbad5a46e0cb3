"""What the kinds of test-time methods promise, whatever they compute."""

import numpy as np
import pytest
import torch
from PIL import Image

from adaptkit import (
    Episodic,
    Online,
    TestViews,
    Transductive,
    create_method,
    list_test_time,
    method_class,
    wrapper_class,
)
from adaptkit.deployment.explanation import relevance
from tests.conftest import CLASSES
from tests.helpers.models import consumed

KINDS = {"episodic": Episodic, "online": Online, "transductive": Transductive}


@pytest.fixture
def images(tiny_clip):
    return torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (40, 50, 3), dtype=np.uint8)) for _ in range(3)]


def made(name, backbone):
    torch.manual_seed(0)
    return create_method(name, backbone, CLASSES).eval()


@pytest.mark.parametrize("name", list_test_time())
def test_each_is_a_method_and_a_wrapper_of_one_kind(name):
    kind = KINDS[method_class(name).sees]
    assert issubclass(method_class(name), kind)
    assert issubclass(method_class(name), wrapper_class(name))


@pytest.mark.parametrize("name", list_test_time())
def test_parts_of_a_test_are_one_test(name, tiny_clip, images):
    """Answers to all images at once are those to the same images in parts, as one test."""
    method = made(name, tiny_clip)
    x = consumed(method, images)
    with torch.no_grad():
        whole, parts = method.logits(x), torch.cat(list(method.logits_in_order(x.split(3))))
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list_test_time())
def test_only_what_says_so_answers_an_image_by_others(name, tiny_clip, images):
    method = made(name, tiny_clip)
    x = consumed(method, images)
    with torch.no_grad():
        together = method.logits(x)
        alone = torch.cat([method.logits(one) for one in x.split(1)])
    if method.sees == "episodic":
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    else:
        assert not torch.allclose(together, alone)


@pytest.mark.parametrize("name", list_test_time())
def test_no_test_is_remembered_by_the_next_one(name, tiny_clip, images):
    method = made(name, tiny_clip)
    x = consumed(method, images)
    with torch.no_grad():
        assert torch.equal(method.logits(x), method.logits(x))
        if method.sees == "transductive":
            backwards = method.logits(x.flip(0)).flip(0)
            torch.testing.assert_close(backwards, method.logits(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", list_test_time())
def test_in_training_it_answers_as_the_method_inside(name, tiny_clip, images):
    method = made(name, tiny_clip).train()
    x = consumed(method, images)
    with torch.no_grad():
        assert torch.equal(method.logits(x), method.inner.logits(x))


@pytest.mark.parametrize("name", list_test_time())
def test_it_stands_outermost(name, tiny_clip):
    with pytest.raises(ValueError, match="a test-time method stands outermost"):
        create_method(name, tiny_clip, CLASSES, wrap=["posthoc_debias"])
    with pytest.raises(ValueError, match="a test-time method stands outermost"):
        create_method("clip_lora", tiny_clip, CLASSES, wrap=["zero", name])


@pytest.mark.parametrize("name", list_test_time())
def test_pictures_are_looked_at_in_all_views_and_preprocessed_images_in_one(name, tiny_clip, pictures):
    method = made(name, tiny_clip)
    views = method.test_views
    assert len(method.predict(pictures)) == 3
    prepared = torch.stack([tiny_clip.preprocess(picture) for picture in pictures])
    if views is None or views.count == 1:
        first, second = method.predict(pictures), method.predict(prepared)
        assert [one.labels for one in first] == [one.labels for one in second]
    else:
        with pytest.warns(UserWarning, match=f"looks at {views.count} views of a picture"):
            method.predict(prepared)


def test_views_of_several_pictures_share_a_batch_of_as_many_views(tiny_clip, pictures, monkeypatch):
    method = made("zero", tiny_clip)
    method.test_views = TestViews(5)
    seen = []
    monkeypatch.setattr(type(method), "logits_of_views", lambda self, x: seen.append(x.logits.shape) or x.logits[:, 0])
    method.predict(pictures, batch_size=10)
    assert seen == [(2, 5, len(CLASSES)), (1, 5, len(CLASSES))]


@pytest.mark.parametrize("name", list_test_time())
def test_no_map_is_drawn_of_a_classifier_that_changes(name, tiny_clip, pictures):
    with pytest.raises(ValueError, match="adapts to every image that it sees"):
        relevance(made(name, tiny_clip), pictures[0], 0)


@pytest.mark.parametrize("name", [name for name in list_test_time() if method_class(name).sees == "online"])
def test_a_stream_goes_on_where_it_ended_here_and_elsewhere(name, tiny_clip, pictures):
    method, other = made(name, tiny_clip), made(name, tiny_clip)
    whole = [one.probabilities for one in method.stream(pictures)]
    method.forget()
    first = [one.probabilities for one in method.stream(pictures[:1])]
    other.load_stream_state(method.stream_state())
    rest = [one.probabilities for one in other.stream(pictures[1:])]
    assert first + rest == whole
    method.set_classes(("tabby cat", "violin"))
    with pytest.raises(ValueError, match="expected"):
        method.load_stream_state(other.stream_state())
    assert len(list(method.stream(pictures))) == 3

"""CLAP: zero-shot at the start, multipliers from the support set, the constraint's gradient."""

import pytest
import torch

from adaptkit import Support, create_method

FEATURES = torch.randn(6, 32, generator=torch.Generator().manual_seed(3))
LABELS = torch.tensor([0, 0, 1, 2, 3, 3])  # no image of class 4


def test_it_starts_as_zero_shot(tiny_clip, classes):
    method, zero_shot = (create_method(name, tiny_clip, classes) for name in ("clap", "zero_shot"))
    torch.testing.assert_close(method.logits(FEATURES), zero_shot.logits(FEATURES))


def test_a_multiplier_is_the_mean_zero_shot_probability_of_its_class(tiny_clip, classes):
    method = create_method("clap", tiny_clip, classes)
    method.prepare(Support(FEATURES, LABELS))
    probability = create_method("zero_shot", tiny_clip, classes).logits(FEATURES).softmax(dim=1)
    expected = [probability[label == LABELS, label].mean() if label < 4 else torch.tensor(1.0) for label in range(5)]
    torch.testing.assert_close(method.multipliers, torch.stack(expected))


def test_views_of_an_image_count_as_images(tiny_clip, classes):
    by_views, by_images = (create_method("clap", tiny_clip, classes) for _ in range(2))
    by_views.prepare(Support(FEATURES.reshape(3, 2, 32), torch.tensor([0, 1, 3])))
    by_images.prepare(Support(FEATURES, torch.tensor([0, 0, 1, 1, 3, 3])))
    torch.testing.assert_close(by_views.multipliers, by_images.multipliers)


@pytest.mark.parametrize(("kind", "distinct"), [("class", 5), ("mean", 1), ("one", 1), ("none", 1)])
def test_multipliers_can_be_equal_or_absent(tiny_clip, classes, kind, distinct):
    method = create_method("clap", tiny_clip, classes, multipliers=kind)
    method.prepare(Support(FEATURES, LABELS))
    assert len(method.multipliers.unique()) == distinct
    if kind in ("one", "none"):
        assert method.multipliers[0] == {"one": 1, "none": 0}[kind]


def test_the_constraint_pulls_prototypes_back(tiny_clip, classes):
    method = create_method("clap", tiny_clip, classes, multipliers="one")
    free = create_method("clap", tiny_clip, classes, multipliers="none")
    with torch.no_grad():
        method.prototypes += 1.0
        free.prototypes += 1.0
    held, unheld = method.loss(FEATURES, LABELS), free.loss(FEATURES, LABELS)
    torch.testing.assert_close(held - unheld, torch.tensor(32.0), rtol=1e-4, atol=1e-3)


def test_other_names_are_refused(tiny_clip, classes):
    with pytest.raises(TypeError, match="a prototype for each of the 5 classes"):
        create_method("clap", tiny_clip, classes).set_classes(["cat"])

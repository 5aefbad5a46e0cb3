"""What the recorded numbers of ProLIP cannot show: its limits, other towers, saving, and which rows are kept."""

import pytest
import torch

import adaptkit
from adaptkit import Support, create_method
from tests.helpers.models import build
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train

NOVEL = ("tabby cat", "violin")
ADAM = OptimConfig(name="adam", lr=1e-2, epochs=5, weight_decay=0.0, warmup_epochs=0)


def trained(backbone, classes, images, labels, optim=ADAM, **options):
    method = create_method("prolip", backbone, classes, **options)
    x = method.consume(images) if method.consumes == "tokens" else images
    train(method, [(x, labels)], optim, Support(x, labels))
    return method


def test_without_a_step_it_is_zero_shot(tiny_clip, classes, batch):
    method = create_method("prolip", tiny_clip, classes).eval()
    zero_shot = create_method("zero_shot", tiny_clip, classes)
    torch.testing.assert_close(method(batch[0]), zero_shot(batch[0]), rtol=0, atol=1e-4)


def test_only_the_projection_learns(tiny_clip, classes):
    learnt = create_method("prolip", tiny_clip, classes).learnt_parameters()
    assert {name: tuple(value.shape) for name, value in learnt.items()} == {
        "projection.weight": tuple(tiny_clip.vision_tower.projection.shape)
    }


def test_a_large_weight_keeps_the_projection_where_it_was(tiny_clip, classes, batch):
    optim = OptimConfig(name="sgd", lr=1e-5, momentum=0.0, epochs=50, weight_decay=0.0, warmup_epochs=0)
    distances = []
    for constant in (0.0, 100.0, 10_000.0):
        method = trained(tiny_clip, classes, *batch, optim, weight="constant", constant=constant)
        distances.append(method.projection.distance_from(tiny_clip.vision_tower.projection).item())
    assert distances[0] > 1.01 * distances[1]
    assert distances[1] > 10 * distances[2]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 5 / 6),
        ({"weight": "inverse_square"}, (5 / 6) ** 2),
        ({"weight": "constant", "constant": 0.3}, 0.3),
    ],
)
def test_the_weight_comes_from_the_images_of_a_class(options, expected, tiny_clip, classes, batch):
    method = create_method("prolip", tiny_clip, classes, **options)
    method.prepare(Support(method.consume(batch[0]), batch[1]))  # six images of five classes
    assert method.strength == pytest.approx(expected)


def test_the_distance_is_a_sum_over_all_entries(tiny_clip, classes, batch):
    method = create_method("prolip", tiny_clip, classes, weight="constant", constant=1.0)
    with torch.no_grad():
        method.projection.weight += 0.5
    rows = method.consume(batch[0])
    assert float(method.regularizer(rows, batch[1])) == pytest.approx(0.25 * method.projection.weight.numel(), rel=1e-4)


def test_the_bias_and_the_norms_of_a_resnet_stay(classes):
    backbone = build("modified_resnet")
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    images, labels = torch.randn(6, 3, *backbone.preprocess_cfg.image_size), torch.tensor([0, 1, 2, 3, 4, 0])
    method = trained(backbone, classes, images, labels)
    assert method.consumes == "images"
    assert list(method.learnt_parameters()) == ["projection.weight"]
    assert all(torch.equal(value, before[name]) for name, value in backbone.model.state_dict().items())
    assert not torch.equal(method.projection.weight, backbone.model.visual.attnpool.c_proj.weight)


def test_a_tower_without_a_projection_is_refused(classes):
    backbone = build("clip_vit")
    backbone.model.visual.proj = None
    with pytest.raises(ValueError, match="image tower of clip_vit has none; take clip_adapter"):
        create_method("prolip", adaptkit.FrozenCLIP(backbone.model, backbone.tokenizer.plain, "clip_vit"), classes)


def test_the_first_row_alone_is_enough(tiny_clip, classes, batch):
    method = create_method("prolip", tiny_clip, classes).eval()
    rows = method.consume(batch[0])
    assert torch.equal(method.logits(rows[:, :1]), method.logits(rows))


def test_other_classes_take_over_and_saved_it_answers_alike(tiny_clip, classes, batch, tmp_path):
    method = trained(tiny_clip, classes, *batch)
    method.set_classes(NOVEL)
    features = method.encode_image(batch[0])
    weights = create_method("zero_shot", tiny_clip, NOVEL).class_weights()
    torch.testing.assert_close(method(batch[0]), tiny_clip.logits(features, weights))
    loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
    assert torch.equal(loaded(batch[0]), method(batch[0]))

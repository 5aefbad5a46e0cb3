"""Several labels per image around a method: its loss, its answers, what is saved, and who cannot take part."""

import json

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit import Support, create_method
from adaptkit.contract.answers import UNKNOWN
from adaptkit.deployment.export import export
from adaptkit.wrappers.multi_label import MultiLabel, MultiLabelConfig
from tests.conftest import CLASSES
from tests.helpers.models import consumed

N = 10


@pytest.fixture
def examples(tiny_clip):
    """Images (N, 3, 32, 32) and their labels (N, C)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(N, 3, 32, 32, generator=generator)
    return images, (torch.rand(N, len(CLASSES), generator=generator) < 0.4).float()


def made(backbone, name="taskres", **options) -> MultiLabel:
    return create_method(name, backbone, CLASSES, wrap=[("multi_label", MultiLabelConfig(**options))])


def test_it_starts_as_the_method_and_prepare_makes_log_odds(tiny_clip, examples):
    images, targets = examples
    plain, method = create_method("taskres", tiny_clip, CLASSES), made(tiny_clip)
    x = consumed(method, images)
    assert torch.equal(method.logits(x), plain.logits(x))
    method.prepare(Support(x, targets))
    expected = (targets.sum(dim=0) + 1) / (N + 2)  # about as likely as the images say
    torch.testing.assert_close(method.logits(x).sigmoid().mean(dim=0), expected, atol=0.08, rtol=0)
    order = plain.logits(x).argsort(dim=0)
    assert torch.equal(method.logits(x).argsort(dim=0), order)  # no image changes its place for a label


def test_the_loss_is_binary_cross_entropy_of_all_labels_with_the_methods_regularizer(tiny_clip, examples):
    images, targets = examples
    for name in ("taskres", "kgcoop"):
        method = made(tiny_clip, name)
        x = consumed(method, images)
        expected = F.binary_cross_entropy_with_logits(method.logits(x), targets) * len(CLASSES)
        added = method.inner.regularizer(x, targets)
        torch.testing.assert_close(method.loss(x, targets), expected if added is None else expected + added)


def test_no_label_of_an_image_is_left_out(tiny_clip, examples):
    images, targets = examples
    method = made(tiny_clip)
    x = consumed(method, images)
    for label in range(len(CLASSES)):
        flipped = targets.clone()
        flipped[0, label] = 1 - flipped[0, label]
        assert method.loss(x, flipped) != method.loss(x, targets)


def test_a_probe_is_fitted_to_every_label(tiny_clip, examples):
    images, targets = examples
    method = create_method("linear_probe", tiny_clip, CLASSES, wrap=["multi_label"], c=1e4)
    x = consumed(method, images)
    method.prepare(Support(x, targets))
    assert torch.equal(method.logits(x) > 0, targets > 0.5)
    method.tune(Support(x, targets))
    assert (method.scale, method.bias.abs().max()) == (1, 0)


def test_answers_are_the_labels_at_or_above_their_thresholds(tiny_clip, examples):
    images, targets = examples
    method = made(tiny_clip)
    x = consumed(method, images)
    method.prepare(Support(x, targets))
    log_odds = method.eval()(images).detach()
    method.set_thresholds(log_odds[0])  # the first image reaches them all
    found = method.predict(images, topk=2)
    assert set(found[0].present) == set(CLASSES)
    for prediction, row in zip(found, log_odds, strict=True):
        there = {name for name, odds, least in zip(CLASSES, row, log_odds[0], strict=True) if odds >= least - 1e-6}
        assert set(prediction.present) == there
        assert len(prediction.labels) == 2
        assert prediction.probability == pytest.approx(float(row.max().sigmoid()), abs=1e-5)
    method.set_thresholds(torch.full_like(method.bias, 1e6))
    (nothing,) = method.predict(images[0])
    assert (nothing.present, nothing.label, nothing.rejected) == ((), UNKNOWN, True)
    method.set_thresholds(torch.full_like(method.bias, -1e6))
    (some,) = method.predict(images[0], reject=float(log_odds[0].median().sigmoid()))
    assert 0 < len(some.present) < len(CLASSES)


def test_one_class_per_image_has_no_labels_that_are_there(tiny_clip, examples):
    assert create_method("taskres", tiny_clip, CLASSES).predict(examples[0])[0].present is None


@pytest.mark.parametrize("given", [{"scores": "softmax"}, {"scores": "independent", "offset": 1.0}])
def test_other_scores_are_refused(tiny_clip, examples, given):
    with pytest.raises(ValueError, match="learnt several labels per image"):
        made(tiny_clip).predict(examples[0], **given)


def test_what_was_fitted_and_chosen_is_saved(tiny_clip, examples, tmp_path):
    images, targets = examples
    method = made(tiny_clip, "coop", gamma_negative=4.0)
    method.prepare(Support(consumed(method, images), targets))
    method.set_thresholds(torch.arange(float(len(CLASSES))))
    method.save_pretrained(tmp_path / "saved")
    again = adaptkit.load(tmp_path / "saved", tiny_clip)
    assert torch.equal(again.label_thresholds, method.label_thresholds)
    assert again.predict(images) == method.predict(images)
    assert again.spec == method.spec
    assert "prediction.present" in (tmp_path / "saved" / "README.md").read_text()
    config = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    assert [part["name"] for part in config["wrappers"]] == ["multi_label"]
    assert config["classnames"] == list(CLASSES)


def test_the_exported_file_gives_log_odds_and_says_from_where_on_labels_are_there(tiny_clip, tmp_path):
    method = made(tiny_clip)
    method.set_thresholds(torch.full_like(method.bias, 0.25))
    export(method, tmp_path / "m.pt2", "torch.export")
    facts = {"adaptkit.json": ""}
    torch.export.load(tmp_path / "m.pt2", extra_files=facts)
    said = json.loads(facts["adaptkit.json"])
    assert json.loads(said["logit_thresholds"]) == [0.25] * len(CLASSES)
    assert said["scores"].startswith("independent")


def test_a_rescaled_method_keeps_the_order_of_images(tiny_clip, examples):
    method = made(tiny_clip)
    before = method(examples[0])
    method.rescale(0.5, torch.ones(len(CLASSES)))
    torch.testing.assert_close(method(examples[0]), 0.5 * before + 1)


@pytest.mark.parametrize("thresholds", [torch.zeros(1), torch.full((len(CLASSES),), torch.nan)])
def test_thresholds_are_one_finite_number_of_each_label(tiny_clip, thresholds):
    with pytest.raises(ValueError, match="one finite number"):
        made(tiny_clip).set_thresholds(thresholds)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("prograd", "its gradients in its own way"),
        ("tip_adapter", "prepared with images of one class each"),
        ("promptkd", "learns without labels"),
        ("ctp_tft", "by which others there are"),
        ("mmrl", "more than a cross-entropy"),
    ],
)
def test_a_method_that_cannot_take_part_says_why(tiny_clip, name, reason):
    with pytest.raises(ValueError, match=reason):
        made(tiny_clip, name)


def test_it_stands_outermost(tiny_clip):
    assert made(tiny_clip).label_thresholds is not None
    create_method("coop", tiny_clip, CLASSES, wrap=["multi_label", "token_merging"])
    with pytest.raises(ValueError, match="multi_label stands outermost"):
        create_method("coop", tiny_clip, CLASSES, wrap=["token_merging", "multi_label"])
    with pytest.raises(TypeError, match="biases and thresholds"):
        made(tiny_clip).set_classes(["cat", "dog"])


def test_what_is_about_one_class_for_each_image_is_refused(tiny_clip, examples):
    method = made(tiny_clip)
    for asked in ({"coverage": 0.9}, {"reject": "auto"}):
        with pytest.raises(ValueError, match="has learnt several labels per image, each with a score and a threshold"):
            method.predict(examples[0], **asked)
    with pytest.raises(ValueError, match="a calibration is for methods that answer with one class"):
        adaptkit.calibrate(method, examples[0], [0] * N)

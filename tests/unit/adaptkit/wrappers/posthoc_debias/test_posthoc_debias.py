"""Debiasing with an image-absent prior: its equations, that the prior is never stale, and what is kept of it."""

import math

import pytest
import torch

from adaptkit import Support, create_method, load
from adaptkit.calibration.calibration_error import expected_calibration_error
from adaptkit.deployment.export import export
from adaptkit.wrappers.fdt.head import FDTConfig
from adaptkit.wrappers.posthoc_debias.absent import blank_images, noise_images, shuffled_images
from adaptkit.wrappers.posthoc_debias.equations import (
    contrast,
    corrected,
    diag,
    distance_from_uniform,
    ece_as_released,
    identity,
    prior_of,
)
from adaptkit.wrappers.posthoc_debias.measures import measure
from adaptkit.wrappers.posthoc_debias.wrapper import PosthocDebiasConfig
from tests.conftest import CLASSES

CORRECTIONS = ("diag", "identity", "contrast")
OTHERS = ("tabby cat", "violin", "sushi")


@pytest.fixture
def logits():
    return 4 * torch.randn(6, 5)


@pytest.fixture
def absent():
    """Logits (3, 5) of three inputs that show nothing."""
    return torch.randn(3, 5)


def wrapped(backbone, method="zero_shot", classes=CLASSES, **options):
    return create_method(method, backbone, classes, wrap=[("posthoc_debias", PosthocDebiasConfig(**options))])


# Equations


def test_an_input_that_shows_nothing_is_answered_evenly():
    v = torch.randn(1, 5)
    p = corrected(v, v, "diag", 1.0, scale=1.0).softmax(dim=-1)
    torch.testing.assert_close(p, torch.full_like(p, 0.2), rtol=0, atol=1e-3)


def test_the_clamped_identity_keeps_the_answer_that_the_released_one_flips():
    q = identity(torch.tensor([[0.7, 0.3]]), torch.tensor([0.6, 0.4]))
    assert q.argmax() == 0
    assert (q > 0).all()
    torch.testing.assert_close(q.sum(), torch.tensor(1.0))


def test_diag_divides_probabilities_by_the_prior(logits, absent):
    prior = prior_of(absent, 1.0)
    expected = logits.softmax(dim=-1) / (prior + 1e-4)
    torch.testing.assert_close(diag(logits, prior).softmax(dim=-1), expected / expected.sum(dim=-1, keepdim=True))


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_a_constant_on_all_logits_changes_no_probability(correction, logits, absent):
    plain = corrected(logits, absent, correction).softmax(dim=-1)
    torch.testing.assert_close(corrected(logits + 7, absent + 3, correction).softmax(dim=-1), plain)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_classes_in_another_order_give_the_logits_in_that_order(correction, logits, absent):
    order = torch.tensor([3, 0, 4, 1, 2])
    found = corrected(logits[:, order], absent[:, order], correction)
    torch.testing.assert_close(found, corrected(logits, absent, correction)[:, order])


def test_contrast_with_alpha_zero_changes_no_class_that_stays(logits, absent):
    assert torch.equal(contrast(logits, absent, alpha=0.0, beta=0.0), logits)
    stays = logits >= math.log(0.1) + logits.amax(dim=-1, keepdim=True)
    assert torch.equal(contrast(logits, absent, alpha=0.0)[stays], logits[stays])


def test_contrast_keeps_the_order_of_classes_that_it_leaves_out():
    found = contrast(torch.tensor([[10.0, 1.0, 2.0]]), torch.zeros(1, 3))
    assert found.isfinite().all()
    assert found.argsort(dim=-1, descending=True).tolist() == [[0, 2, 1]]
    assert found.softmax(dim=-1)[0, 1:].tolist() == [0, 0]


def test_a_prior_that_is_almost_one_hot_is_made_softer_unless_its_scale_is_given():
    sharp = torch.tensor([[12.0, 0.0, 0.0]])
    torch.testing.assert_close(prior_of(sharp), prior_of(sharp, 0.25))
    assert prior_of(sharp, 1.0).max() > 0.99
    even = torch.tensor([[1.0, 0.0, 0.0]])
    torch.testing.assert_close(prior_of(even), prior_of(even, 1.0))


def test_a_planted_bias_is_taken_out():
    """Logits that favour a class, whatever is shown, regain the accuracy that they had without the favour."""
    labels = torch.arange(4).repeat(50)
    clean = torch.randn(200, 4)
    clean[torch.arange(200), labels] += 2
    bias = torch.tensor([3.0, 0.0, -2.0, 0.0])
    plain, biased = measure(clean, labels), measure(clean + bias, labels)
    restored = measure(corrected(clean + bias, bias[None], "diag", scale=1.0), labels)
    assert biased.accuracy < plain.accuracy - 10
    assert restored.accuracy == pytest.approx(plain.accuracy, abs=0.5)
    assert restored.worst_recall > biased.worst_recall
    assert restored.entropy > biased.entropy


def test_the_calibration_error_takes_probabilities_and_the_released_one_flattens_them():
    p, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0])
    assert float(expected_calibration_error(p, labels)) == 0
    assert float(ece_as_released(p, labels)) == pytest.approx(1 - math.e / (1 + math.e), abs=1e-6)


def test_even_answers_are_at_distance_zero():
    assert float(distance_from_uniform(20 * torch.eye(5))) == pytest.approx(0, abs=1e-6)
    assert float(distance_from_uniform(20 * torch.eye(5)[:1])) == pytest.approx(math.log(5), abs=1e-3)


def test_a_class_without_images_has_no_recall():
    found = measure(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 0]))
    assert found.macro_recall == 75
    assert found.worst_recall == 50


# What shows nothing


def test_blank_images_are_black_white_and_the_mean_colour(tiny_clip):
    cfg = tiny_clip.preprocess_cfg
    mean, std = (torch.tensor(values)[:, None, None] for values in (cfg.mean, cfg.std))
    shown = blank_images(cfg) * std + mean
    torch.testing.assert_close(shown[0], torch.zeros_like(shown[0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(shown[1], torch.ones_like(shown[1]))
    torch.testing.assert_close(shown[2], mean.expand_as(shown[2]))


def test_noise_is_the_same_each_time(tiny_clip):
    assert torch.equal(noise_images(tiny_clip.preprocess_cfg), noise_images(tiny_clip.preprocess_cfg))


def test_shuffled_images_keep_their_colours(batch):
    images, _ = batch
    shuffled = shuffled_images(images)
    assert not torch.equal(shuffled, images)
    torch.testing.assert_close(shuffled.flatten(2).sort().values, images.flatten(2).sort().values)


# The wrapper


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("prior", ["blank", "noise"])
def test_logits_are_the_equation_of_the_inner_methods(prior, correction, tiny_clip, batch):
    method = wrapped(tiny_clip, prior=prior, correction=correction)
    images, _ = batch
    shown = {"blank": blank_images, "noise": noise_images}[prior](tiny_clip.preprocess_cfg)
    absent = method.inner(shown)
    strength = 0.5 if correction == "contrast" else 1.0
    torch.testing.assert_close(method(images), corrected(method.inner(images), absent, correction, strength))


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_strength_zero_changes_no_bit(correction, tiny_clip, batch):
    method = wrapped(tiny_clip, correction=correction, strength=0.0)
    assert torch.equal(method(batch[0]), method.inner(batch[0]))


def test_the_mean_of_the_images_is_answered_evenly(tiny_clip, batch):
    images, labels = batch
    method = wrapped(tiny_clip, prior="mean", prior_scale=1.0)
    x = method.consume(images)
    assert torch.equal(method.logits(x), method.inner.logits(x)), "nothing has been seen yet"
    method.prepare(Support(x, labels))
    torch.testing.assert_close(method.absent, x.mean(dim=0, keepdim=True))
    p0 = method.image_absent_prior()
    expected = p0 / (p0 + 1e-4)  # even but for what is added to the prior
    torch.testing.assert_close(
        method.logits(x.mean(dim=0, keepdim=True)).softmax(dim=-1)[0], expected / expected.sum(), rtol=1e-3, atol=1e-5
    )


def test_views_of_images_count_as_images(tiny_clip, batch):
    images, labels = batch
    method = wrapped(tiny_clip, prior="mean")
    x = method.consume(images)
    method.prepare(Support(torch.stack([x, x + 1], dim=1), labels))
    torch.testing.assert_close(method.absent, x.mean(dim=0, keepdim=True) + 0.5)


def test_shuffled_images_come_from_the_training_images(tiny_clip, batch):
    images, labels = batch
    method = wrapped(tiny_clip, "tip_adapter", prior="shuffle")
    method.prepare(Support(images[:, None], labels))
    assert method.consumes == "images"
    assert method.inner.cache.keys is not None
    assert not torch.equal(method.logits(images), method.inner(images))


def test_a_running_mean_is_the_mean_at_first_and_does_not_depend_on_batches(tiny_clip, batch):
    x = tiny_clip.encode_image(batch[0])
    one, two = (wrapped(tiny_clip, prior="batch").eval() for _ in range(2))
    one.logits(x)
    for part in x.split(2):
        two.logits(part)
    torch.testing.assert_close(one.absent, x.mean(dim=0, keepdim=True))
    torch.testing.assert_close(two.absent, one.absent)
    one.train().logits(x)
    assert one.seen == len(x), "training is no stream of test images"


@pytest.mark.parametrize("name", ["coop", "cocoop", "clip_adapter", "tip_adapter_f", "clip_lora", "maple"])
def test_the_prior_follows_what_the_inner_method_learns(name, tiny_clip, batch):
    images, labels = batch
    method = wrapped(tiny_clip, name)
    x = method.consume(images)
    method.prepare(Support(x, labels))
    method.train()
    before = method.absent_logits()
    optimizer = torch.optim.SGD(method.learnt_parameters().values(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        method.backward(x, labels)
        optimizer.step()
    assert not torch.equal(method.absent_logits(), before)
    with torch.no_grad():
        expected = method.eval().inner(blank_images(tiny_clip.preprocess_cfg))
    torch.testing.assert_close(method.absent_logits(), expected)


def test_the_prior_follows_the_class_names_also_while_they_are_kept(tiny_clip, batch):
    method = wrapped(tiny_clip)
    images, _ = batch
    fresh = wrapped(tiny_clip, classes=OTHERS)(images)
    with method.encode_classes_once():
        method(images)
        method.set_classes(OTHERS)
        torch.testing.assert_close(method(images), fresh)
    torch.testing.assert_close(method(images), fresh)
    with method.encode_classes_once(), method.encode_classes_once():
        torch.testing.assert_close(method(images), fresh)
    assert len(method.image_absent_prior()) == len(OTHERS)


def test_training_is_the_inner_methods_own(tiny_clip, batch):
    images, labels = batch
    method, alone = wrapped(tiny_clip, "taskres"), create_method("taskres", tiny_clip, CLASSES)
    x = method.consume(images)
    assert torch.equal(method.backward(x, labels), alone.backward(x, labels))
    assert torch.equal(method.inner.residual.grad, alone.residual.grad)


@pytest.mark.parametrize("prior", ["blank", "noise", "shuffle", "mean", "batch"])
def test_a_loaded_method_has_the_same_prior(prior, tiny_clip, batch, tmp_path):
    images, labels = batch
    method = wrapped(tiny_clip, "taskres", prior=prior)
    method.prepare(Support(method.consume(images), labels))
    method.inner.residual.data += 0.1
    method.choose_strength(method.consume(images), labels)
    method.eval()(images)
    method.save_pretrained(tmp_path)
    expected = method.absent_logits(), method(images)
    again = load(tmp_path, tiny_clip)
    assert torch.equal(again.absent_logits(), expected[0])
    assert torch.equal(again(images), expected[1])


def test_the_strength_is_chosen_by_accuracy_or_by_even_answers(tiny_clip):
    method = create_method(
        "linear_probe", tiny_clip, CLASSES[:4], wrap=[("posthoc_debias", PosthocDebiasConfig(prior="mean"))]
    )
    labels = torch.arange(4).repeat(25)
    x = torch.zeros(100, tiny_clip.embed_dim)
    x[:, :4] = torch.randn(100, 4)
    x[torch.arange(100), labels] += 2
    method.inner.weight.data[:, :4] = torch.eye(4)
    method.inner.bias.data.copy_(torch.tensor([3.0, 0.0, -2.0, 0.0]))
    method.absent.copy_(x.mean(dim=0, keepdim=True))
    method.seen.fill_(100)
    assert method.choose_strength(x, labels) > 0.25
    assert method.choose_strength(x) > 0.25
    before, after = method.before_and_after(x, labels)
    assert after.accuracy > before.accuracy
    assert after.worst_recall > before.worst_recall


def test_tune_reads_labels_only_where_they_are_asked_for(tiny_clip, batch):
    images, labels = batch
    x = tiny_clip.encode_image(images)
    assert "tune" not in wrapped(tiny_clip).provides
    assert "tune" in wrapped(tiny_clip, "tip_adapter").provides
    unlabelled = wrapped(tiny_clip, choose="unlabelled")
    found = []
    for order in (labels, labels.flip(0)):
        unlabelled.tune(Support(x, order))
        found.append(float(unlabelled.strength))
    assert found[0] == found[1]


@pytest.mark.parametrize("wrap", [["posthoc_debias", "das"], ["das", "posthoc_debias"], ["posthoc_debias", "fdt"]])
def test_it_stands_around_and_inside_other_wrappers(wrap, tiny_clip, batch):
    from adaptkit.wrappers.das.config import DASConfig

    options = {"das": DASConfig(select="last", skip_vision=1, skip_text=0, encoder="vision"), "fdt": FDTConfig()}
    given = [(name, options.get(name, PosthocDebiasConfig())) for name in wrap]
    method = create_method("zero_shot", tiny_clip, CLASSES, wrap=given).eval()
    images, _ = batch
    debias = method if wrap[0] == "posthoc_debias" else method.inner
    expected = corrected(debias.inner(images), debias.inner(blank_images(tiny_clip.preprocess_cfg)))
    torch.testing.assert_close(method(images), expected)


def test_fdt_around_it_reads_its_corrected_logits(tiny_clip, batch):
    wrap = [("fdt", FDTConfig(weight=0.0)), ("posthoc_debias", PosthocDebiasConfig())]
    method = create_method("zero_shot", tiny_clip, CLASSES, wrap=wrap).eval()
    torch.testing.assert_close(method(batch[0]), method.inner(batch[0]))


def test_an_export_has_the_prior_in_it(tiny_clip, tmp_path):
    assert export(wrapped(tiny_clip), tmp_path / "it.pt", "torchscript").agreement == 1


# Refusals


def test_a_mean_of_features_needs_a_tower_that_stays(tiny_clip):
    with pytest.raises(ValueError, match=r"mean of features, and CLIPLoRA .* take blank, noise or shuffle"):
        wrapped(tiny_clip, "clip_lora", prior="mean")


def test_a_running_mean_takes_no_chosen_strength():
    with pytest.raises(ValueError, match='set choose="given" or prior="mean"'):
        PosthocDebiasConfig(prior="batch", choose="validation")


def test_a_state_without_its_mean_is_refused(tiny_clip):
    method = wrapped(tiny_clip, prior="mean")
    with pytest.raises(ValueError, match=r"\['absent'\] are missing"):
        method.load_learnt_state({name: t for name, t in method.learnt_state().items() if name != "absent"})


def test_it_has_no_class_weights(tiny_clip):
    method = wrapped(tiny_clip)
    assert "class_weights" not in method.provides
    with pytest.raises(TypeError, match="no cosines"):
        method.class_weights()

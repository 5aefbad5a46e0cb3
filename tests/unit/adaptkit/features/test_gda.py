"""GDA as a method: zero-shot at alpha 0, images in parts, the search, other names in the base-to-novel mode, saving."""

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit import Support, create_method
from adaptkit.features.gda import ALPHAS, search_alpha
from tests.helpers.models import build
from trainers.config.load import load_bench

GENERATOR = torch.Generator().manual_seed(1)
LABELS = torch.arange(20) % 5
SUPPORT = Support(torch.randn(5, 32, generator=GENERATOR)[LABELS] + torch.randn(20, 32, generator=GENERATOR), LABELS)
VALIDATION = Support(SUPPORT.x + torch.randn(20, 32, generator=GENERATOR), LABELS)
MODES = ("few_shot", "base_to_novel")
NEW = ("tabby cat", "violin", "sushi")


def prepared(backbone, classes, support=SUPPORT, **options):
    method = create_method("gda", backbone, classes, **options)
    method.prepare(support)
    return method


@pytest.mark.parametrize("mode", MODES)
def test_it_is_zero_shot_until_it_has_images_and_at_alpha_zero(tiny_clip, classes, mode):
    weights = create_method("zero_shot", tiny_clip, classes).class_weights()
    zero_shot = 100 * F.normalize(SUPPORT.x, dim=-1) @ weights.T
    torch.testing.assert_close(create_method("gda", tiny_clip, classes, mode=mode).logits(SUPPORT.x), zero_shot)
    torch.testing.assert_close(prepared(tiny_clip, classes, mode=mode, alpha=0.0).logits(SUPPORT.x), zero_shot)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_trained(tiny_clip, classes, mode):
    assert not prepared(tiny_clip, classes, mode=mode).learnt_parameters()


@pytest.mark.parametrize("mode", MODES)
def test_images_in_parts_are_the_images_at_once(tiny_clip, classes, mode):
    whole, parts = prepared(tiny_clip, classes, mode=mode), create_method("gda", tiny_clip, classes, mode=mode)
    for x, labels in zip(SUPPORT.x.split(7), LABELS.split(7), strict=True):
        parts.add(Support(x, labels))
    torch.testing.assert_close(parts.logits(VALIDATION.x), whole.logits(VALIDATION.x), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_to_prepare_again_forgets_the_images_of_before(tiny_clip, classes, mode):
    method = prepared(tiny_clip, classes, Support(VALIDATION.x, LABELS.flip(0)), mode=mode)
    method.prepare(SUPPORT)
    assert torch.equal(method.logits(VALIDATION.x), prepared(tiny_clip, classes, mode=mode).logits(VALIDATION.x))


def test_every_view_counts_as_an_image(tiny_clip, classes):
    views = prepared(tiny_clip, classes, Support(SUPPORT.x.reshape(10, 2, 32), torch.arange(10) % 5))
    images = prepared(tiny_clip, classes, Support(SUPPORT.x, (torch.arange(10) % 5).repeat_interleave(2)))
    assert torch.equal(views.weight, images.weight)
    assert views.support_views == 10


def test_the_two_modes_estimate_the_covariance_differently(tiny_clip, classes):
    weights = [prepared(tiny_clip, classes, mode=mode).weight for mode in MODES]
    assert not torch.allclose(*weights, rtol=0.1)


def test_more_images_change_no_size_of_what_is_kept(tiny_clip, classes):
    method = prepared(tiny_clip, classes)
    sizes = {name: tensor.shape for name, tensor in method.learnt_state().items()}
    method.add(VALIDATION)
    assert {name: tensor.shape for name, tensor in method.learnt_state().items()} == sizes


def test_one_view_of_one_image_per_class_is_zero_shot(tiny_clip, classes):
    method = prepared(tiny_clip, classes, Support(SUPPORT.x[:5], LABELS[:5]))
    zero_shot = create_method("gda", tiny_clip, classes).logits(VALIDATION.x)
    torch.testing.assert_close(method.logits(VALIDATION.x).softmax(dim=1), zero_shot.softmax(dim=1))


def test_the_search_takes_the_first_best_alpha(tiny_clip, classes):
    method = prepared(tiny_clip, classes)
    right = []
    for alpha in ALPHAS:
        method.alpha.fill_(alpha)
        right.append(int((method.logits(VALIDATION.x).argmax(dim=1) == LABELS).sum()))
    method.tune(VALIDATION)
    assert method.alpha == ALPHAS[right.index(max(right))]


def test_where_no_alpha_gets_anything_right_the_search_ends_where_the_released_one_starts():
    logits = torch.tensor([[1.0, 0.0]])
    assert search_alpha(logits, logits, torch.tensor([1])) == 0.1


def test_without_validation_images_alpha_is_one(tiny_clip, classes):
    method = prepared(tiny_clip, classes)
    assert method.alpha == 1
    free = prepared(tiny_clip, classes, search="none")
    free.tune(VALIDATION)
    assert free.alpha == 1


def test_no_run_of_the_recipes_searches_alpha_on_test_images():
    for protocol in MODES:
        runs = load_bench(None, settings={"PROTOCOL": protocol, "RECIPE": "paper", "METHODS": ["gda"]}).runs
        assert {run.dataset for run in runs} >= {"imagenet", "dtd"}
        assert {run.selection for run in runs} == {"validation"}
        assert {run.options.mode for run in runs} == {protocol}


def test_its_own_file_takes_the_mode_of_the_protocol_and_one_view_of_imagenet():
    for protocol in MODES:
        runs = load_bench(None, settings={"PROTOCOL": protocol, "SUITE": "paper", "METHODS": ["gda"]}).runs
        assert {run.options.mode for run in runs} == {protocol}
        assert {run.dataset: run.options.augment_views for run in runs}["imagenet"] == 1


def test_other_names_are_refused_in_the_few_shot_mode(tiny_clip, classes):
    with pytest.raises(TypeError, match=r"of the 5 classes.*mode='base_to_novel'"):
        create_method("gda", tiny_clip, classes).set_classes(NEW)


def test_other_names_take_the_nearest_images_and_names_of_before_come_back(tiny_clip, classes):
    method = prepared(tiny_clip, classes, mode="base_to_novel", alpha=0.5)
    before = method.logits(VALIDATION.x)
    method.set_classes(NEW)
    new = method.logits(VALIDATION.x)
    fresh = create_method("gda", tiny_clip, NEW, mode="base_to_novel")
    assert new.shape == (20, 3)
    assert method.weight.any()
    with pytest.raises(ValueError, match="of other classes than those of now"):
        method.add(Support(SUPPORT.x[:1], torch.tensor([0])))
    fresh.load_learnt_state(method.learnt_state())
    assert torch.equal(fresh.logits(VALIDATION.x), new)
    for one in (method, fresh):
        one.set_classes(classes)
        assert torch.equal(one.logits(VALIDATION.x), before)


def test_new_names_need_a_text_tower_that_stands_still(tiny_clip, classes):
    with pytest.raises(ValueError, match="makes Gaussians of new classes from their texts"):
        create_method("gda", tiny_clip, classes, mode="base_to_novel", wrap=["das"])


@pytest.mark.parametrize("mode", MODES)
def test_an_adapter_answers_as_the_method_and_takes_more_images(tiny_clip, classes, mode, tmp_path):
    backbone = adaptkit.load_backbone("adaptkit-mini")
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(20, backbone.embed_dim, generator=generator)
    method = prepared(backbone, classes, Support(x, LABELS), mode=mode)
    method.tune(Support(x.flip(0), LABELS))
    method.save_pretrained(tmp_path)
    loaded = adaptkit.load(tmp_path)
    assert torch.equal(loaded.logits(x), method.logits(x))
    for one in (method, loaded):
        one.add(Support(x + 1, LABELS))
    assert torch.equal(loaded.logits(x), method.logits(x))


@pytest.mark.parametrize("mode", MODES)
def test_kept_tensors_of_another_method_are_refused(tiny_clip, classes, mode):
    method, state = create_method("gda", tiny_clip, classes, mode=mode), prepared(tiny_clip, classes, mode=mode)
    with pytest.raises(ValueError, match="do not belong here"):
        method.load_learnt_state({})
    with pytest.raises(ValueError, match="do not belong here"):
        method.load_learnt_state({"alpha": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="alpha is int64"):
        method.load_learnt_state(state.learnt_state() | {"alpha": torch.tensor(1)})


@pytest.mark.parametrize(
    ("support", "message"),
    [
        (Support(torch.zeros(2, 32), torch.tensor([0, 5])), "from 0 to 5; there are 5 classes"),
        (Support(torch.zeros(2, 3), torch.tensor([0, 1])), "expected .N, 32."),
        (Support(torch.zeros(2, 32), torch.tensor([0])), r"with labels \(1,\)"),
    ],
)
def test_a_support_set_that_cannot_be_is_named_and_changes_nothing(tiny_clip, classes, support, message):
    method = prepared(tiny_clip, classes)
    before = method.logits(VALIDATION.x)
    for take in (method.prepare, method.add):
        with pytest.raises(ValueError, match=message):
            take(support)
    assert torch.equal(method.logits(VALIDATION.x), before)


def test_a_half_precision_backbone_computes_in_full(classes):
    method = prepared(build("clip_vit", torch.bfloat16), classes)
    assert method.weight.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        ours = method.logits(VALIDATION.x)
    torch.testing.assert_close(ours, method.logits(VALIDATION.x))

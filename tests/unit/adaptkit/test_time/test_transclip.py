"""TransCLIP as a method and around others: what is kept of shots and validation images, and what is refused."""

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit import Support, create_method, wrapper_config
from adaptkit.test_time.transclip import Transduction
from tests.helpers.models import build, consumed

NAMES = ("cat", "dog", "ramen")
LABELS = torch.arange(12) % 3
FEW_SHOT = {"mode": "few_shot"}


def pictures(n=12, seed=0):
    random = torch.Generator().manual_seed(seed)
    of_class = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    return of_class[torch.arange(n) % 3] + torch.randn(n, 3, 32, 32, generator=random)


def around(inner, backbone, options=FEW_SHOT, **inner_options):
    wrap = [("transclip", wrapper_config("transclip")(**options))]
    return create_method(inner, backbone, NAMES, wrap=wrap, **inner_options).eval()


def support_of(method, seed=1, labels=LABELS, views=True):
    x = consumed(method, pictures(seed=seed))
    if method.support_views and views:
        x = torch.stack([x + 0.1 * view * torch.randn_like(x) for view in range(method.support_views)], dim=1)
    return Support(x, labels)


@torch.no_grad()
def answers(method, seed=0):
    return method(pictures(30, seed))


@pytest.mark.parametrize("inner", ["zero_shot", "clip_adapter", "maple", "fdt"])
def test_it_stands_on_top_of_what_is_inside(inner, tiny_clip):
    method = around(inner, tiny_clip, {})
    with torch.no_grad():
        features = F.normalize(method.encode_image(pictures(30)), dim=-1)
        expected = Transduction(features, method.inner(pictures(30)).log_softmax(dim=1)).solve()
    torch.testing.assert_close(answers(method), expected, rtol=1e-4, atol=1e-4)


def test_images_of_one_call_are_the_whole_test(tiny_clip):
    method = create_method("transclip", tiny_clip, NAMES).eval()
    whole = method.predict(pictures(30))
    for one, other in zip(whole, method.predict(pictures(30), batch_size=7), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert sum(one.probabilities) == pytest.approx(1)
    alone = [method.predict(picture)[0] for picture in pictures(30)]
    assert any(abs(one.probability - other.probability) > 0.01 for one, other in zip(whole, alone, strict=True))
    assert method.predict([]) == []


def test_answers_are_single_precision_on_a_backbone_of_half():
    method = create_method("transclip", build("clip_vit", torch.bfloat16), NAMES).eval()
    features = F.normalize(torch.randn(20, 32), dim=1).bfloat16()
    found = method.logits_of_all(features, torch.randn(20, 3).bfloat16())
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_by_itself_it_learns_and_keeps_nothing(tiny_clip):
    method = create_method("transclip", tiny_clip, NAMES)
    assert not method.learnt_state()
    assert not method.provides & {"prepare", "tune"}
    method.prepare(support_of(method))
    method.tune(support_of(method))
    assert not method.learnt_state()


# Shots


def test_without_shots_it_is_the_form_without(tiny_clip):
    assert torch.equal(answers(around("zero_shot", tiny_clip)), answers(around("zero_shot", tiny_clip, {})))


@pytest.mark.parametrize("inner", ["zero_shot", "coop", "maple", "tip_adapter", "fdt", "prolip"])
def test_shots_are_kept_and_saved(inner, tiny_clip, tmp_path):
    method = around(inner, tiny_clip)
    start = answers(method)
    method.prepare(support_of(method))
    prepared = answers(method)
    assert not torch.allclose(prepared, start, atol=1e-2)
    method.tune(support_of(method, seed=2, views=False))
    tuned = answers(method)
    names = ("shots", "shot_labels", "validation", "validation_labels")
    assert [len(method.learnt_state()[name]) for name in names] == [12] * 4
    loaded = adaptkit.load(method.save_pretrained(tmp_path), tiny_clip)
    assert torch.equal(answers(loaded), tuned)
    torch.testing.assert_close(method.shots.norm(dim=1), torch.ones(12))


def test_shots_of_several_views_are_the_mean_of_them(tiny_clip):
    method, views = around("tip_adapter", tiny_clip), torch.randn(12, 10, 32)
    method.prepare(Support(views, LABELS))
    torch.testing.assert_close(method.shots, F.normalize(views.mean(dim=1), dim=1))
    torch.testing.assert_close(method.inner.cache.keys, method.shots)


@pytest.mark.parametrize("inner", ["maple", "coop"])
def test_shots_are_encoded_again_where_the_image_tower_learns(inner, tiny_clip):
    method = around(inner, tiny_clip)
    method.prepare(support_of(method))
    for parameter in method.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.1)
    before = method.shots.clone()
    method.after_epoch(0)
    with torch.no_grad():
        expected = F.normalize(method.encode_image(pictures(seed=1)), dim=1)
    torch.testing.assert_close(method.shots, expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(method.shots, before, atol=1e-3) == (inner == "coop")


def test_validation_images_choose_gamma_in_each_test(tiny_clip):
    gammas = (0.0, 0.3, 5.0)
    method = around("zero_shot", tiny_clip, FEW_SHOT | {"gammas": gammas, "starts": "fresh"})
    method.prepare(support_of(method, labels=LABELS.roll(1)))  # of other classes, so that weights matter
    method.tune(support_of(method, seed=2))
    found = answers(method)
    each = []
    for gamma in gammas:
        alone = around("zero_shot", tiny_clip, FEW_SHOT | {"gamma": gamma, "search": "none"})
        assert "tune" not in alone.provides
        alone.prepare(support_of(alone, labels=LABELS.roll(1)))
        alone.tune(support_of(alone, seed=2))
        assert not len(alone.validation)
        each.append(answers(alone))
    assert not torch.allclose(each[0], each[2], atol=1e-2)
    with torch.no_grad():
        queries, images = (F.normalize(method.encode_image(pictures(*args)), dim=1) for args in ((30, 0), (12, 2)))
    nearest = (images @ queries.T).argmax(dim=1)
    right = [int((answer[nearest].argmax(dim=1) == LABELS).sum()) for answer in each]
    torch.testing.assert_close(found, each[right.index(max(right))])


@pytest.mark.parametrize(
    ("options", "without"),
    [
        ({"stacking": "code"}, {}),
        ({"kl_weight": 2.0}, {}),
        ({"neighbours": 1}, {}),
        ({"iterations": 1}, {}),
        ({"inner_steps": 1, "iterations": 1}, {"iterations": 1}),
        ({"gamma": 5.0}, {}),
        ({"alias": "code", "mode": "zero_shot"}, {"mode": "zero_shot"}),
    ],
    ids=str,
)
def test_every_option_changes_the_answers(options, without, tiny_clip):
    found = []
    for given in (options, without):
        method = around("zero_shot", tiny_clip, FEW_SHOT | given)
        method.prepare(support_of(method))
        found.append(answers(method))
    assert not torch.allclose(*found, atol=1e-3)


def test_shots_belong_to_their_classes(tiny_clip):
    method = around("zero_shot", tiny_clip)
    with pytest.raises(TypeError, match=r'make a new transclip .* or take mode="zero_shot"'):
        method.set_classes(["violin", "sushi"])
    around("zero_shot", tiny_clip, {}).set_classes(["violin", "sushi"])


def test_labels_of_no_class_are_refused(tiny_clip):
    method = around("zero_shot", tiny_clip)
    with pytest.raises(ValueError, match="reach from 1 to 3; there are 3 classes"):
        method.prepare(support_of(method, labels=LABELS + 1))


def prepared(tiny_clip):
    method = around("zero_shot", tiny_clip)
    method.prepare(support_of(method))
    return method


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shots": torch.zeros(12, 5)}, r"shots \(12, 5\) with shot_labels \(12,\); expected \(S, 32\) with \(S,\)"),
        ({"shot_labels": torch.zeros(3, dtype=torch.int64)}, r"shot_labels \(3,\)"),
        ({"shot_labels": LABELS + 1}, "shot_labels reach from 1 to 3; there are 3 classes"),
        ({"shots": torch.zeros(12, 32, dtype=torch.int64)}, "shots is int64"),
        ({"validation": torch.zeros(2, 32)}, r"validation \(2, 32\) with validation_labels \(0,\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(changed, message, tiny_clip):
    method = prepared(tiny_clip)
    expected = answers(method)
    with pytest.raises(ValueError, match=message):
        method.load_learnt_state(method.learnt_state() | changed)
    assert torch.equal(answers(method), expected)


def test_a_state_without_shots_is_refused(tiny_clip):
    state = prepared(tiny_clip).learnt_state()
    del state["shots"]
    with pytest.raises(ValueError, match=r"\['shots'\] are missing"):
        around("zero_shot", tiny_clip).load_learnt_state(state)


def test_no_gamma_to_search_is_refused():
    with pytest.raises(ValueError, match=r"gammas=\(\); expected one number or more"):
        wrapper_config("transclip")(gammas=())


def test_no_other_method_stands_around_it(tiny_clip):
    with pytest.raises(ValueError, match="stands outermost"):
        create_method("transclip", tiny_clip, NAMES, wrap=["posthoc_debias"])

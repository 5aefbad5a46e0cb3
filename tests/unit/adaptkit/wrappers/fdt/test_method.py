"""FDT as a plugin: what it leaves exact, what it does not depend on, and where it stops."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit import FrozenCLIP, Support, create_method, fdt
from adaptkit.fdt import FDTConfig
from adaptkit.wrappers.fdt.calibration import calibrate, effective_support, support_size
from adaptkit.wrappers.fdt.codebook import spherical_kmeans, warm_codebook
from adaptkit.wrappers.fdt.grounding import activate, combine, pool, token_scores
from adaptkit.wrappers.fdt.head import SCRATCH_WIDTH
from adaptkit.wrappers.fdt.pooled_scores import pooled_scores
from adaptkit.wrappers.fdt.query import QueryNetwork
from adaptkit.wrappers.fdt.wrapper import FDTWrapper
from tests.conftest import CLASSES

SMALL = FDTConfig(n_codes=48, rank=4)
LABELS = torch.arange(10) % len(CLASSES)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(10, 3, 32, 32)


def made(name: str, backbone: FrozenCLIP, config: FDTConfig = SMALL) -> FDTWrapper:
    method = create_method(name, backbone, CLASSES, wrap=[("fdt", config)])
    assert isinstance(method, FDTWrapper)
    return method


def learn(method: FDTWrapper, x: Tensor, steps: int = 3) -> None:
    optimizer = torch.optim.Adam(method.learnt_parameters().values(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        method.backward(x, LABELS)
        optimizer.step()


@pytest.mark.parametrize("name", ["zero_shot", "coop", "clip_adapter", "tip_adapter", "maple", "clip_lora"])
def test_without_weight_it_is_the_method_inside_to_the_last_bit(name, tiny_clip, images):
    method = made(name, tiny_clip, replace(SMALL, weight=0.0))
    x = tiny_clip.encode_tokens(images) if method.consumes == "tokens" else images
    method.prepare(Support(x, LABELS))
    learn(method, x)
    method.eval()
    assert torch.equal(method(images), method.inner(images))
    assert torch.equal(method.logits(x), method.inner(images))


def test_queries_from_scratch_are_the_published_networks_alone(tiny_clip, images):
    method = made("zero_shot", tiny_clip, replace(SMALL, queries="scratch", start="random"))
    x = tiny_clip.encode_tokens(images)
    method.prepare(Support(x, LABELS))
    head, patches = method.head, x[:, 1:].contiguous()
    assert isinstance(head.image_query, QueryNetwork)
    assert head.codebook.shape == (48, SCRATCH_WIDTH)
    assert torch.equal(head.image_queries(patches, tiny_clip.project_tokens(patches)), head.image_query(patches))
    assert head.decayed() == {f"{side}_query.{layer}.weight" for side in ("image", "text") for layer in (1, 4)}
    before = F.cross_entropy(method.grounded_logits(x), LABELS)
    learn(method, x, steps=5)
    assert F.cross_entropy(method.grounded_logits(x), LABELS) < before
    method.set_classes(["violin", "sushi"])
    assert method(images).shape == (10, 2)


def test_codes_from_texts_and_patches_are_refused_for_queries_from_scratch():
    with pytest.raises(ValueError, match='set start="random"'):
        FDTConfig(queries="scratch")


@pytest.mark.parametrize("name", ["coop", "kgcoop", "prograd"])
def test_a_method_that_is_coupled_separately_learns_as_if_it_were_alone(name, tiny_clip, images):
    torch.manual_seed(1)
    alone = create_method(name, tiny_clip, CLASSES, n_ctx=4)
    torch.manual_seed(1)
    wrapped = create_method(name, tiny_clip, CLASSES, wrap=[("fdt", replace(SMALL, coupling="separate"))], n_ctx=4)
    alone.backward(tiny_clip.encode_image(images), LABELS)
    wrapped.backward(tiny_clip.encode_tokens(images), LABELS)
    expected = alone.learnt_parameters()["context.ctx"].grad
    assert torch.equal(wrapped.learnt_parameters()["inner.context.ctx"].grad, expected)
    assert wrapped.learnt_parameters()["head.codebook"].grad.norm() > 0


def test_the_joint_loss_has_the_sum_the_grounded_part_and_the_regularizer(tiny_clip, images):
    method = made("kgcoop", tiny_clip)
    x = tiny_clip.encode_tokens(images)
    grounded, inner = method.grounded_logits(x), method.inner.logits(tiny_clip.encode_image(images))
    added = method.inner.regularizer(tiny_clip.encode_image(images), LABELS)
    expected = F.cross_entropy(inner + grounded, LABELS) + 0.5 * F.cross_entropy(grounded, LABELS) + added
    torch.testing.assert_close(method.loss(x, LABELS), expected)


def test_a_method_with_gradients_of_its_own_is_refused_where_the_loss_should_be_joint(tiny_clip):
    with pytest.raises(ValueError, match='set the coupling of fdt to "separate"'):
        made("prograd", tiny_clip)


def test_the_order_of_codes_and_of_patches_changes_nothing(tiny_clip, images):
    method, x = made("zero_shot", tiny_clip), tiny_clip.encode_tokens(images)
    expected = method.grounded_logits(x)
    patches = 1 + torch.randperm(x.shape[1] - 1)
    torch.testing.assert_close(method.grounded_logits(torch.cat([x[:, :1], x[:, patches]], dim=1)), expected)
    method.head.codebook.data = method.head.codebook[torch.randperm(48)]
    torch.testing.assert_close(method.grounded_logits(x), expected)


def test_padding_changes_nothing(tiny_clip):
    method = made("zero_shot", tiny_clip)
    expected = method._class_features()
    for name, value in (("words", 7.0), ("projected_words", -3.0), ("real_words", False)):
        padding = torch.full_like(method.get_buffer(name)[:, :1], value)
        setattr(method, name, torch.cat([method.get_buffer(name), padding.expand(-1, 4, *padding.shape[2:])], dim=1))
    torch.testing.assert_close(method._class_features(), expected)
    alone = fdt.ground(method, ["a photo of a ramen."])
    beside_a_long_text = fdt.ground(method, ["a photo of a ramen.", "a photo of ten very long and winding roads."])
    torch.testing.assert_close(beside_a_long_text[:1], alone)


def test_no_temperature_is_one_code_and_an_endless_one_is_all_of_them(tiny_clip, images):
    method, x = made("zero_shot", tiny_clip), tiny_clip.encode_tokens(images)
    method.head.temperature.fill_(1e9)
    activations = method.image_activations(images)
    torch.testing.assert_close(activations, torch.full_like(activations, 1 / 48), atol=1e-6, rtol=0)
    assert method.grounded_logits(x).std(dim=0).max() < 1e-4
    method.head.temperature.fill_(1e-9)
    activations = method.image_activations(images)
    z = method.head.image_scores(*method._patches(x))
    assert torch.equal(activations, F.one_hot(z.argmax(dim=-1), 48).float())


@pytest.mark.parametrize("attention", ["sparsemax", "softmax"])
def test_calibration_meets_its_target_and_others_the_sharpness_of_sparsemax(attention):
    z = torch.randn(40, 200)
    spread = effective_support(activate(z / calibrate(z, "sparsemax", 20), "sparsemax")).mean()
    activations = activate(z / calibrate(z, attention, 20), attention)
    torch.testing.assert_close(effective_support(activations).mean(), spread, rtol=0.02, atol=0)
    if attention == "sparsemax":
        assert abs(float(support_size(activations).mean()) - 20) < 0.5


def test_preparing_gives_the_images_a_tenth_of_the_codes(tiny_clip, images):
    method, x = made("zero_shot", tiny_clip, FDTConfig()), tiny_clip.encode_tokens(images)
    method.prepare(Support(x, LABELS))
    assert abs(float(support_size(method.image_activations(images)).mean()) - 51.2) < 1
    assert abs(float(method.head.support[0]) - 51.2) < 1
    assert method.head.support[1] >= 5


def test_the_codebook_starts_from_the_class_texts_and_the_patches(tiny_clip, images):
    method, x = made("zero_shot", tiny_clip), tiny_clip.encode_tokens(images)
    method.prepare(Support(x, LABELS))
    codes = F.normalize(method.head.codebook.detach(), dim=-1)
    texts = F.normalize(tiny_clip.encode_text([f"a photo of a {name}." for name in method.classes.readable]), dim=-1)
    torch.testing.assert_close(codes[: len(CLASSES)], texts, atol=1e-5, rtol=0)
    torch.testing.assert_close(method.head.codebook.detach().norm(dim=-1), torch.full((48,), 32**0.5))


def test_few_patches_and_many_classes_still_fill_a_codebook():
    features = F.normalize(torch.randn(30, 8), dim=-1)
    assert warm_codebook(features, torch.randn(4, 8), 20).shape == (20, 8)
    torch.testing.assert_close(warm_codebook(features[:3], torch.randn(4, 8), 20)[:3], 8**0.5 * features[:3])


def test_kmeans_finds_the_directions_that_points_lie_around():
    centres = F.normalize(torch.eye(6)[:4] + 0.1, dim=-1)
    points = (centres.repeat(50, 1) + 0.02 * torch.randn(200, 6)) * torch.rand(200, 1).add(0.5)
    found = max(
        (spherical_kmeans(points, 4) for _ in range(8)), key=lambda c: float((points @ c.T).max(1).values.sum())
    )
    assert (found @ centres.T).max(dim=0).values.min() > 0.99
    with pytest.raises(ValueError, match="5 centroids of 3 points"):
        spherical_kmeans(points[:3], 5)


def test_new_names_are_grounded_with_the_same_codes(tiny_clip, images):
    method, x = made("coop", tiny_clip), tiny_clip.encode_tokens(images)
    method.prepare(Support(x, LABELS))
    learn(method, x)
    before = method.learnt_state()
    method.set_classes(("violin", "sushi"))
    assert method(images).shape == (10, 2)
    assert all(torch.equal(value, before[name]) for name, value in method.learnt_state().items())
    method.set_classes(CLASSES)
    assert method(images).shape == (10, len(CLASSES))


def test_temperature_and_codebook_are_kept_with_what_is_learnt(tiny_clip, images):
    method, x = made("coop", tiny_clip), tiny_clip.encode_tokens(images)
    method.prepare(Support(x, LABELS))
    state = method.learnt_state()
    assert {"head.codebook", "head.temperature", "head.support", "inner.context.ctx"} <= state.keys()
    other = made("coop", tiny_clip)
    other.load_learnt_state(state)
    assert torch.equal(other(images), method(images))
    with pytest.raises(ValueError, match=r"head\.temperature.* missing"):
        other.load_learnt_state({name: state[name] for name in state if name != "head.temperature"})


def test_only_the_matrices_of_the_queries_decay(tiny_clip):
    method = made("coop", tiny_clip)
    assert method.learnt_parameters().keys() - method.undecayed() == {
        *(f"head.{side}_query.{part}.weight" for side in ("image", "text") for part in ("down", "up")),
        "inner.context.ctx",
    }


def test_queries_start_as_clips_own(tiny_clip, images):
    plain, residual = (made("zero_shot", tiny_clip, replace(SMALL, rank=rank)) for rank in (0, 4))
    residual.head.codebook.data = plain.head.codebook.data
    residual.head.temperature.copy_(plain.head.temperature)
    assert torch.equal(plain.image_activations(images), residual.image_activations(images))
    assert torch.equal(fdt.ground(plain, ["a cat"]), fdt.ground(residual, ["a cat"]))


def test_separate_codebooks_start_equal_and_part(tiny_clip, images):
    method, x = made("zero_shot", tiny_clip, replace(SMALL, codebook="separate")), tiny_clip.encode_tokens(images)
    method.prepare(Support(x, LABELS))
    assert torch.equal(method.head.codebook, method.head.text_codebook)
    learn(method, x)
    assert not torch.equal(method.head.codebook, method.head.text_codebook)


def test_the_grounded_logits_can_stand_alone(tiny_clip, images):
    method, x = made("zero_shot", tiny_clip, replace(SMALL, logits="grounded")), tiny_clip.encode_tokens(images)
    torch.testing.assert_close(method.logits(x), method.grounded_logits(x))


def test_classes_are_grounded_once_where_nothing_is_learnt(tiny_clip, images):
    method, x = made("coop", tiny_clip).eval(), tiny_clip.encode_tokens(images)
    with torch.no_grad():
        expected = method.logits(x)
        with method.encode_classes_once():
            assert method._kept is not None
            torch.testing.assert_close(method.logits(x), expected)
    assert method._kept is None


def test_grounding_finds_the_codebook_inside_other_wrappers_and_says_where_there_is_none(tiny_clip, images):
    assert fdt.ground(made("coop", tiny_clip), images).shape == (10, 48)
    with pytest.raises(TypeError, match=r"CoOp has no finite discrete tokens; make the method with wrap=\['fdt'\]"):
        fdt.ground(create_method("coop", tiny_clip, CLASSES, n_ctx=2), images)


@pytest.mark.parametrize("pooling", ["max", "mean", "sum"])
@pytest.mark.parametrize("masked", [False, True])
def test_pooled_scores_and_their_gradients_are_those_of_every_token_s_scores(pooling, masked):
    mask = torch.arange(5) < torch.tensor([5, 1, 3])[:, None] if masked else None
    upstream = torch.randn(3, 7).relu().double()  # zeros, as behind a sparsemax
    found = []
    for way in (pooled_scores, lambda q, c, how, mask: pool(token_scores(q, c), how, mask)):
        torch.manual_seed(0)
        queries, codes = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 5, 4), (7, 4)))
        z = way(queries, codes, pooling, mask)
        found.append((z, *torch.autograd.grad(z, (queries, codes), upstream)))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


def test_sigmoid_features_are_a_weighted_mean():
    activations, codes = torch.rand(3, 5), torch.randn(5, 4)
    expected = (activations @ codes) / activations.sum(dim=1, keepdim=True)
    torch.testing.assert_close(combine(activations, codes, "sigmoid"), expected)


def test_options_that_make_no_codebook_are_refused():
    for options, reason in (({"n_codes": 1}, "expected 2 or more"), ({"rank": -1}, "expected 0 or more")):
        with pytest.raises(ValueError, match=reason):
            FDTConfig(**options)
    with pytest.raises(ValueError, match="support=1"):
        FDTConfig(support=1.0)

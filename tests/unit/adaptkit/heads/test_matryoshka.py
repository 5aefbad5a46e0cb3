"""Matryoshka: prefixes, maps, exits, cascades, retrieval and its file."""

import math

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_head, load_head
from adaptkit.heads.matryoshka import Matryoshka, losses
from adaptkit.heads.matryoshka.cascade import best_scale, cascade, thresholds
from adaptkit.heads.matryoshka.retrieval import mean_average_precision_at, precision_at, recall_at, search
from adaptkit.heads.matryoshka.rotation import orthogonality, pca
from tests.helpers.models import build
from trainers.fit.nested import NestedTraining, cache_images, train_nested

TEXTS = ["a photo of a cat", "a photo of a dog", "sushi"]


def head_of(backbone, **options) -> Matryoshka:
    made = create_head("matryoshka", backbone, **options)
    assert isinstance(made, Matryoshka)
    return made


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moved(head):
    """The head with every learnt tensor a little elsewhere."""
    with torch.no_grad():
        for number, parameter in enumerate(head.learnt_parameters().values()):
            parameter.add_(0.05 * draw(*parameter.shape, seed=number))
    return head


# Sizes


def test_sizes_are_powers_of_two_up_to_the_full_size(tiny_clip):
    assert head_of(tiny_clip).sizes == (8, 16, 32)
    assert head_of(tiny_clip, sizes=(32, 4)).sizes == (4, 32)


def test_a_rotation_keeps_clips_similarities_at_full_size(tiny_clip, batch):
    head, texts = head_of(tiny_clip), tiny_clip.encode_text(TEXTS)
    features = tiny_clip.encode_image(batch[0])
    head.start(features, texts)
    ours = head.encode(batch[0]) @ head.encode_texts(TEXTS).T
    torch.testing.assert_close(ours, F.normalize(features, dim=-1) @ F.normalize(texts, dim=-1).T, atol=1e-5, rtol=0)


def test_a_prefix_is_cut_and_then_normalised(tiny_clip, batch):
    head = moved(head_of(tiny_clip))
    whole = head.image_vectors(tiny_clip.encode_image(batch[0]))
    torch.testing.assert_close(head.encode(batch[0], dim=12), F.normalize(whole[:, :12], dim=-1))
    torch.testing.assert_close(head.served(dim=12)(batch[0]), head.encode(batch[0], dim=12))
    assert len(head.served(dim=12).answers(batch[0])[0]["vector"]) == 12


def test_mrl_e_equals_mrl_where_layers_are_columns_of_one():
    z, weight, bias, sizes = draw(5, 16), draw(3, 16, seed=1), draw(3, seed=2), (4, 16)
    one = losses.mrl_e_logits(z, weight, bias, sizes)
    several = losses.mrl_logits(z, [weight[:, :size] for size in sizes], [bias, bias])
    for ours, theirs in zip(one, several, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_pca_is_orthogonal_and_orders_directions_by_strength():
    images, texts = draw(200, 8) * torch.arange(1, 9), draw(50, 8, seed=1) * torch.arange(1, 9)
    rotation = pca(images, texts)
    assert float(orthogonality(rotation)) < 1e-8
    strength = sum((F.normalize(x, dim=-1) @ rotation).square().mean(dim=0) for x in (images, texts))
    assert (strength.diff() <= 1e-6).all()


def test_training_gains_on_pca_at_the_trained_objective(tiny_clip):
    labels = torch.arange(64) % 8
    texts = draw(8, tiny_clip.embed_dim, seed=1)
    features = draw(64, tiny_clip.embed_dim) + texts[labels]
    head = head_of(tiny_clip, sizes=(4, 8))
    head.start(features, texts)
    before = head.loss(features, texts[labels]).item()
    train_nested(head, features, texts[labels], NestedTraining(epochs=15, batch_size=64))
    assert head.loss(features, texts[labels]).item() < before


def test_two_maps_learn_apart_and_one_is_shared(tiny_clip):
    assert len(head_of(tiny_clip).learnt_parameters()) == 1
    head = head_of(tiny_clip, maps="two")
    head.loss(draw(4, 32), draw(4, 32, seed=1)).backward()
    assert not torch.equal(head.image_map.grad, head.text_map.grad)


@pytest.mark.parametrize("contrast", ["symmetric", "classes"])
def test_images_of_one_text_are_no_negatives_of_each_other(contrast, tiny_clip):
    texts = draw(2, 32)
    options = {"orthogonality": 0.0, "distillation": 0.0, "sizes": (32,), "contrast": contrast}
    loss = head_of(tiny_clip, **options).loss(texts[[0, 0, 1, 1]], texts[[0, 0, 1, 1]])
    logits = tiny_clip.logits(texts, texts)
    expected = F.cross_entropy(logits, torch.arange(2))
    if contrast == "symmetric":
        expected = (expected + F.cross_entropy(logits.T, torch.arange(2)) + math.log(2)) / 2
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)


def test_weights_of_sizes_count(tiny_clip):
    options = {"orthogonality": 0.0, "distillation": 0.0, "sizes": (8, 32)}
    x, texts = draw(4, 32), draw(4, 32, seed=1)
    small, large = (
        head_of(tiny_clip, **options, size_weights=weights).loss(x, texts) for weights in ((1.0, 0.0), (0.0, 1.0))
    )
    both = head_of(tiny_clip, **options, size_weights=(0.5, 2.0)).loss(x, texts)
    torch.testing.assert_close(both, 0.5 * small + 2 * large)


# Depths


class Counted:
    """How often the blocks of a tower run, by their first norms."""

    def __init__(self, tower):
        self.calls = [0] * tower.depth
        self.handles = [
            block.ln_1.register_forward_hook(lambda *_, number=number: self.count(number))
            for number, block in enumerate(tower.blocks)
        ]

    def count(self, number):
        self.calls[number] += 1


@pytest.mark.parametrize(("depth", "calls"), [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (0, [1, 1, 1])])
def test_as_many_blocks_run_as_the_depth_says(depth, calls, batch):
    backbone = build("clip_vit")
    head = head_of(backbone, depths=(1, 2))
    counted = Counted(head.tower)
    head.encode(batch[0], depth=depth)
    assert counted.calls == calls


def test_full_depth_and_size_are_the_base_model(tiny_clip, batch):
    head = head_of(tiny_clip, depths=(1, 3))
    assert head.depths == (1,)
    torch.testing.assert_close(head(batch[0]), F.normalize(tiny_clip.encode_image(batch[0]), dim=-1))


def test_a_fresh_exit_is_the_towers_norm_and_projection_of_the_row_there(tiny_clip, batch):
    head = head_of(tiny_clip, depths=(2,), depth=2)
    tower = tiny_clip.vision_tower
    short = tiny_clip.with_towers(vision=type(tower)(**{**vars(tower), "blocks": tower.blocks[:2]}))
    torch.testing.assert_close(head(batch[0]), F.normalize(short.encode_image(batch[0]), dim=-1))


@pytest.mark.parametrize("options", [{}, {"kl_on": "coordinates", "exit_weight": "formula", "kl_temperature": 2.0}])
def test_exits_learn_from_images_as_from_what_is_cached(options, tiny_clip, batch):
    head = moved(head_of(tiny_clip, depths=(1, 2), **options))
    texts = tiny_clip.encode_text(TEXTS)[torch.tensor([0, 1, 2, 0, 1, 2])]
    features, rows = cache_images(head, batch[0].split(4))
    torch.testing.assert_close(head.loss(batch[0], texts), head.loss_of_cached(features, rows, texts))
    losses_of_epochs = train_nested(head, features, texts, NestedTraining(epochs=8, batch_size=6), rows)
    assert losses_of_epochs[-1] < losses_of_epochs[0]
    assert all(parameter.grad is None for parameter in tiny_clip.parameters())


def test_a_saved_head_answers_at_every_depth_and_size(tiny_clip, batch, tmp_path):
    head = moved(head_of(tiny_clip, depths=(1, 2)))
    head.served(depth=2, dim=16).save_pretrained(tmp_path / "head")
    restored = load_head(tmp_path / "head", tiny_clip)
    torch.testing.assert_close(restored(batch[0]), head.encode(batch[0], depth=2, dim=16))
    torch.testing.assert_close(restored.encode(batch[0], depth=1), head.encode(batch[0], depth=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (8, 64)}, "size 64 is above the 32 coordinates"),
        ({"dim": 33}, "dim=33; the vectors of clip_vit have 1 to 32"),
        ({"depths": (4,)}, "depth 4 is outside of the image tower of clip_vit, which has 3 blocks"),
        ({"depths": (1,), "depth": 2}, r"depth=2, and this head answers at the depths \[1, 3\]"),
        ({"depth": 2}, "depth=2, and this head answers"),
        ({"size_weights": (1.0,)}, "give one of each, or none"),
    ],
)
def test_what_the_vectors_or_the_tower_lack_is_refused(options, message, tiny_clip):
    with pytest.raises(ValueError, match=message):
        head_of(tiny_clip, **options)


@pytest.mark.parametrize("family", ["modified_resnet", "siglip_style"])
def test_exits_need_a_class_token(family):
    with pytest.raises(ValueError, match=rf"{family}"):
        head_of(build(family), depths=(1,))


@pytest.mark.parametrize(("depth", "dim"), [(1, 8), pytest.param(0, 16, marks=pytest.mark.slow)])
def test_the_file_of_a_depth_and_a_size_computes_the_same(depth, dim, tiny_clip, batch, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    head = moved(head_of(tiny_clip, depths=(1,)))
    written = head.export(tmp_path / "cut.onnx", depth=depth, dim=dim)
    assert written.max_difference < 1e-4
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "cut.onnx")).run(None, {"images": batch[0].numpy()})
    torch.testing.assert_close(
        torch.from_numpy(found), head.encode(batch[0], depth, dim).detach(), rtol=1e-4, atol=1e-4
    )


def test_a_file_of_less_depth_holds_fewer_weights(tiny_clip, tmp_path):
    head = head_of(tiny_clip, depths=(1,))
    shallow, whole = (
        head.export(tmp_path / f"{depth}.pt", depth=depth, file_format="torchscript").path.stat().st_size
        for depth in (1, 3)
    )
    assert shallow < 0.6 * whole


# The released formulas


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("a9d33eb", lambda layer: (1.0, 4.0)),
        ("347bbb6", lambda layer: (1 / layer, 2 * math.log(2 + layer))),
        ("4e57965", lambda layer: (1 / layer, 2.0)),
    ],
)
def test_each_formula_has_its_factors(formula, expected):
    for layer in (1, 2, 5, 11):
        assert losses.formula_factors(formula, layer, 2.0) == pytest.approx(expected(layer))


def test_a_fixed_teacher_takes_the_place_of_the_last_layer_in_the_kl():
    last, drawn, teacher = draw(4, 1, 8).requires_grad_(), draw(4, 1, 8, seed=1), draw(4, 1, 8, seed=2)

    def nothing(states):
        return states.sum() * 0

    alone = losses.two_d_loss(last, drawn, 1, 4, nothing)
    torch.testing.assert_close(alone, math.log(3) * losses.kl(last[:, 0], drawn[:, 0], 1.0))
    (gradient,) = torch.autograd.grad(alone, last)
    assert gradient.abs().max() > 0  # no stop-gradient on the target
    taught = losses.two_d_loss(last, drawn, 1, 4, nothing, teacher=teacher)
    expected = math.log(3) * losses.kl(teacher[:, 0], drawn[:, 0], 1.0) + losses.kl(teacher, last, 1.0)
    torch.testing.assert_close(taught, expected)


def test_lambdas_belong_to_the_first_formula():
    last, drawn = draw(4, 1, 8), draw(4, 1, 8, seed=1)
    without = losses.two_d_loss(last, drawn, 2, 4, formula="a9d33eb", lambdas=(2.0, 0.0))
    own = losses.interleaved_contrast
    torch.testing.assert_close(without, 2 * (own(last[:, 0]) + own(last[:, 0, :4])))
    with pytest.raises(ValueError, match="belong to the formula"):
        losses.two_d_loss(last, drawn, 2, 4, lambdas=(2.0, 1.0))


def test_the_target_of_compression_is_reproducible():
    z = draw(6, 12)
    assert torch.equal(losses.pca_target(z, 4), losses.pca_target(z, 4))
    assert losses.ese_loss([z, draw(6, 12, seed=1), draw(6, 12, seed=2)], size=4).isfinite()


# Cascades and retrieval


def test_thresholds_of_0_and_1_take_the_smallest_and_the_largest():
    steps = [draw(9, 4, seed=seed).softmax(dim=-1) for seed in range(3)]
    small, large = cascade(steps, [0.0, 0.0]), cascade(steps, [1.0, 1.0])
    assert torch.equal(small.labels, steps[0].argmax(dim=-1))
    assert small.mean_cost([8, 16, 32]) == 8
    assert torch.equal(large.labels, steps[2].argmax(dim=-1))
    assert large.mean_cost([8, 16, 32]) == 32
    with pytest.raises(ValueError, match="one for each step but the last"):
        cascade(steps, [0.5])


def test_thresholds_are_the_smallest_of_the_most_accurate():
    small = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45]])  # right, right, wrong
    large = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])  # right, wrong, right
    (found,) = thresholds([small, large], torch.tensor([0, 0, 1]))
    assert 0.55 <= found < 0.55 + 0.9 / 99
    assert cascade([small, large], [found]).labels.tolist() == [0, 0, 1]


def test_a_scale_is_found_that_makes_probabilities_fit():
    labels = (torch.rand(4000, generator=torch.Generator().manual_seed(0)) < 0.75).long()
    logits = torch.tensor([0.0, 4 * math.log(3)]).expand(4000, 2)
    assert best_scale(logits, labels) == pytest.approx(0.25)


def test_a_funnel_ends_in_what_the_longest_prefix_says_of_the_shortlist():
    queries, database = draw(5, 16), draw(60, 16, seed=1)
    exact = search(queries, database, (16,), (60,))
    assert exact.mega_macs == pytest.approx(60 * 16 / 1e6)
    for shortlists in ((60, 10), (60, 60)):
        assert torch.equal(search(queries, database, (4, 16), shortlists).places, exact.places[:, : shortlists[1]])
    short = search(queries, database, (4, 8, 16), (20, 10, 5))
    assert short.mega_macs == pytest.approx((60 * 4 + 20 * 8 + 10 * 16) / 1e6)
    first = search(queries, database, (4,), (20,)).places
    assert all(set(row) <= set(first[number].tolist()) for number, row in enumerate(short.places.tolist()))


@pytest.mark.parametrize(
    ("sizes", "shortlists", "message"),
    [
        ((4, 8), (10,), "one of each for every step"),
        ((4, 8), (5, 10), "do not grow"),
        ((4, 17), (10, 5), "expected 1 to 16"),
    ],
)
def test_steps_that_make_no_search_are_refused(sizes, shortlists, message):
    with pytest.raises(ValueError, match=message):
        search(draw(2, 16), draw(20, 16), sizes, shortlists)


def test_measures_of_retrieval():
    relevant, totals = torch.tensor([[True, False, True], [False, False, False]]), torch.tensor([2, 1])
    assert precision_at(relevant, 3) == pytest.approx(1 / 3)
    assert recall_at(relevant, totals, 1) == pytest.approx(0.25)
    assert mean_average_precision_at(relevant, totals, 3) == pytest.approx((1 + 2 / 3) / 2 / 2)

"""TDA as a method: its two caches against plain lists, their bounds, views, streams that go on, and bad input."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

import adaptkit
from adaptkit import create_method
from adaptkit.contract.test_time import Seen
from adaptkit.test_time.tda import TDAConfig, cached_items, empty_caches, mean_of_kept_views
from tests.helpers.models import build
from trainers.config.load import load_bench

C, D = 5, 12


def stream(count=60, views=1, seed=0):
    """Features that lie near each other (N, V, D), unit, and a classifier (C, D), so that some images are unsure."""
    draw = torch.Generator().manual_seed(seed)
    weights = F.normalize(torch.randn(C, D, generator=draw) + 2 * torch.randn(1, D, generator=draw), dim=-1)
    own = torch.randn(count, 1, D, generator=draw) + 3 * weights.mean(dim=0)
    features = F.normalize(own + 0.3 * torch.randn(count, views, D, generator=draw), dim=-1)
    return features.double(), weights.double()


def plain(features, logits, config):
    """The method of the paper with one list of items for each class, for images of one view; its logits and lists."""
    positive, negative, rows = {}, {}, []
    for number, (f, of_image) in enumerate(zip(features, logits, strict=True)):
        p, label = of_image.softmax(0), int(of_image.argmax())
        entropy = float(-(p * p.log()).sum())

        def put(cache, capacity, label=label, item=(entropy, number, f, p)):
            items = cache.setdefault(label, [])
            if len(items) < capacity:
                items.append(item)
            elif item[0] < max(one[0] for one in items):
                items.remove(max(items, key=lambda one: one[:2]))
                items.append(item)
            items.sort(key=lambda one: one[:2])

        put(positive, config.positive_capacity)
        if config.least_entropy < entropy / math.log2(C) < config.most_entropy:
            put(negative, config.negative_capacity)
        row = of_image.clone()
        for own, items in positive.items():
            row[own] += sum(config.alpha * math.exp(-config.beta * (1 - float(f @ key))) for _, _, key, _ in items)
        for items in negative.values():
            for _, _, key, of_key in items:
                weight = config.negative_alpha * math.exp(-config.negative_beta * (1 - float(f @ key)))
                row -= weight * ((of_key > config.least_probability) & (of_key < config.most_probability))
        rows.append(row)
    return torch.stack(rows), positive, negative


def looked(method, features, logits, memory=None):
    """Unit features (N, V, D) and logits (N, V, C), in order -> logits (N, C) and the memory."""
    if memory is None:
        memory = empty_caches(method.config, logits.shape[-1], features.shape[-1], features.dtype)
    rows = [method.look(memory, Seen(*one)) for one in zip(features.split(1), logits.split(1), strict=True)]
    return torch.stack(rows), memory


def tda(backbone, **options):
    return create_method("tda", backbone, [f"class {label}" for label in range(C)], **options).eval()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"alpha": 5.0, "beta": 8.0, "positive_capacity": 1},
        {"negative_alpha": 1.5, "negative_beta": 3.0, "negative_capacity": 4},
        {"least_entropy": 0.0, "most_entropy": 0.9, "least_probability": 0.2, "most_probability": 0.8},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_method_of_the_paper(options, seed, tiny_clip):
    method = tda(tiny_clip, **options)
    features, weights = stream(seed=seed)
    logits = 30 * features @ weights.T
    expected, positive, negative = plain(features[:, 0], logits[:, 0], method.config)
    found, memory = looked(method, features, logits)
    torch.testing.assert_close(found, expected)
    for name, lists in (("positive", positive), ("negative", negative)):
        items = cached_items(memory, name)
        assert items.labels.tolist() == [label for label in sorted(lists) for _ in lists[label]]
        assert items.images.tolist() == [one[1] for label in sorted(lists) for one in lists[label]]
        assert len(items.images) >= C


def test_without_weights_it_is_the_method_inside(tiny_clip, batch):
    method = tda(tiny_clip, alpha=0.0, negative_alpha=0.0)
    with torch.no_grad():
        torch.testing.assert_close(method(batch[0]), method.inner(batch[0]))


def test_without_places_it_is_the_method_inside(tiny_clip, batch):
    method = tda(tiny_clip, positive_capacity=0, negative_capacity=0)
    with torch.no_grad():
        torch.testing.assert_close(method(batch[0]), method.inner(batch[0]))


def test_no_class_has_more_items_than_places(tiny_clip):
    features, weights = stream(count=200)
    _, memory = looked(tda(tiny_clip), features, 30 * features @ weights.T)
    for name, capacity in (("positive", 3), ("negative", 2)):
        counts = cached_items(memory, name).labels.bincount(minlength=C)
        assert counts.max() == capacity
    assert memory["images_seen"] == 200


def test_items_of_most_entropy_give_way(tiny_clip):
    method = tda(tiny_clip, positive_capacity=2)
    features = F.normalize(torch.randn(4, 1, D), dim=-1)
    logits = torch.zeros(4, 1, C)
    logits[:, 0, 1] = torch.tensor([2.0, 4.0, 1.0, 3.0])  # the third is least sure of all, and never kept
    _, memory = looked(method, features, logits)
    assert cached_items(memory, "positive").images.tolist() == [1, 3]


def test_of_equal_entropies_the_earlier_stays(tiny_clip):
    features, logits = F.normalize(torch.randn(4, 1, D), dim=-1), torch.zeros(4, 1, C)
    logits[:3, 0, 2] = 1.0
    logits[3, 0, 2] = 2.0
    _, memory = looked(tda(tiny_clip, positive_capacity=2), features[:3], logits[:3])
    assert cached_items(memory, "positive").images.tolist() == [0, 1]
    _, memory = looked(tda(tiny_clip, positive_capacity=2), features, logits)
    assert cached_items(memory, "positive").images.tolist() == [3, 0]


def test_an_image_is_kept_before_it_is_scored(tiny_clip):
    features, logits = F.normalize(torch.randn(1, 1, D), dim=-1), torch.zeros(1, 1, C)
    logits[0, 0, 3] = 2.0
    sure, _ = looked(tda(tiny_clip, alpha=2.0, beta=5.0, negative_alpha=0.0), features, logits)
    torch.testing.assert_close(sure[0] - logits[0, 0], 2.0 * F.one_hot(torch.tensor(3), C).float())
    unsure, memory = looked(tda(tiny_clip, alpha=0.0, most_entropy=0.9), features, logits)
    assert len(cached_items(memory, "negative").images) == 1
    torch.testing.assert_close(unsure[0] - logits[0, 0], torch.full((C,), -0.117))


def test_the_entropy_is_in_nats_and_its_bound_in_bits(tiny_clip):
    features, logits = F.normalize(torch.randn(1, 1, D), dim=-1), torch.zeros(1, 1, C)  # ln 5 / log2 5 = 0.69
    for bounds, kept in (((0.69, 0.7), 1), ((0.2, 0.69), 0), ((0.7, 1.1), 0)):
        method = tda(tiny_clip, least_entropy=bounds[0], most_entropy=bounds[1])
        _, memory = looked(method, features, logits)
        assert len(cached_items(memory, "negative").images) == kept
        assert len(cached_items(memory, "positive").images) == 1


def test_other_numbers_of_the_classes_change_nothing_else(tiny_clip):
    features, weights = stream(seed=4)
    logits, order = 30 * features @ weights.T, torch.tensor([3, 0, 4, 1, 2])
    method = tda(tiny_clip)
    torch.testing.assert_close(
        looked(method, features, logits[..., order])[0], looked(method, features, logits)[0][:, order]
    )


def test_another_order_gives_other_logits(tiny_clip):
    features, weights = stream(seed=5)
    logits, method = 30 * features @ weights.T, tda(tiny_clip)
    forwards, backwards = looked(method, features, logits)[0], looked(method, features.flip(0), logits.flip(0))[0]
    assert not torch.allclose(forwards, backwards.flip(0), atol=1e-2)


def test_a_class_that_is_sure_and_wrong_stays_in_the_cache(tiny_clip):
    method = tda(tiny_clip, positive_capacity=1)
    features, logits = F.normalize(torch.randn(30, 1, D), dim=-1), torch.zeros(30, 1, C)
    logits[:, 0, 2] = 3.0
    logits[0, 0, 2] = 9.0
    _, memory = looked(method, features, logits)
    assert cached_items(memory, "positive").images.tolist() == [0]


def test_a_stream_goes_on_where_its_memory_was_saved(tiny_clip, tmp_path):
    images = [torch.rand(3, 32, 32) for _ in range(12)]
    whole = [one.probabilities for one in tda(tiny_clip).stream(images)]
    first = tda(tiny_clip)
    list(first.stream(images[:7]))
    save_file(first.stream_state(), tmp_path / "memory.safetensors")
    later = tda(tiny_clip)
    later.load_stream_state(load_file(tmp_path / "memory.safetensors"))
    assert [one.probabilities for one in later.stream(images[7:])] == whole[7:]
    state = later.stream_state()
    later.forget()
    assert [one.probabilities for one in later.stream(images)] == whole
    assert state["images_seen"] == 12


def test_a_memory_of_other_classes_or_places_is_refused(tiny_clip):
    method, other = tda(tiny_clip), tda(tiny_clip, positive_capacity=4)
    with pytest.raises(ValueError, match=r"positive_features has shape \(5, 4, 32\); expected \(5, 3, 32\)"):
        method.load_stream_state(other.stream_state())
    with pytest.raises(ValueError, match=r"expected .*negative_masks"):
        method.load_stream_state({"positive_features": torch.zeros(5, 3, 32)})


def test_a_batch_is_its_images_one_after_another(tiny_clip):
    images = torch.randn(9, 3, 32, 32)
    method, single = tda(tiny_clip), tda(tiny_clip)
    with torch.no_grad():
        together = method(images)
        in_parts = torch.cat(list(method.logits_in_order(tiny_clip.encode_image(images).split(4))))
        memory = single.empty_memory()
        alone = [single.look(memory, single.seen(tiny_clip.encode_image(image[None]))) for image in images]
        again = method(images)
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together, in_parts, rtol=1e-4, atol=1e-4)
    assert torch.equal(together, again), "each call is a stream of its own"


def test_of_views_the_surest_six_of_sixty_four_are_averaged():
    features, weights = stream(count=1, views=64)
    logits = 30 * features[0] @ weights.T
    image = mean_of_kept_views(features[0], logits, 0.1)
    p = logits.softmax(dim=-1)
    kept = (-(p * p.log()).sum(dim=-1)).argsort()[:6]
    torch.testing.assert_close(image.feature, features[0][kept].mean(dim=0))
    assert image.feature.norm() < 0.999, "the mean is not normalised again"
    torch.testing.assert_close(image.logits, logits[kept].mean(dim=0))
    torch.testing.assert_close(image.probabilities, p[kept].mean(dim=0))
    mean = p[kept].mean(dim=0)
    torch.testing.assert_close(image.entropy, -(mean * mean.log()).sum())
    of_nine = mean_of_kept_views(features[0][:9], logits[:9], 0.1)  # a tenth of nine is none
    torch.testing.assert_close(of_nine.feature.norm(), torch.ones((), dtype=torch.float64))


def test_the_class_is_that_of_the_mean_logits_and_not_of_the_mean_probabilities(tiny_clip):
    logits = torch.tensor([[9.0, 0.0, 8.0], [0.0, 9.0, 8.0]])
    image = mean_of_kept_views(F.normalize(torch.randn(2, D), dim=-1), logits, 1.0)
    assert (image.logits.argmax(), image.probabilities.argmax()) == (2, 0)
    method = create_method("tda", tiny_clip, ["a", "b", "c"], selection_p=1.0, n_views=2).eval()
    memory = empty_caches(method.config, 3, D)
    method.look(memory, Seen(F.normalize(torch.randn(1, 2, D), dim=-1), logits[None]))
    assert cached_items(memory, "positive").labels.tolist() == [2]


def test_an_image_that_is_no_number_is_not_kept(tiny_clip):
    features, weights = stream(count=20)
    logits, method = 30 * features @ weights.T, tda(tiny_clip)
    _, memory = looked(method, features, logits)
    before = {name: tensor.clone() for name, tensor in memory.items() if name != "images_seen"}
    looked(method, torch.full((1, 1, D), torch.nan).double(), torch.full((1, 1, C), torch.nan).double(), memory)
    assert all(torch.equal(memory[name], tensor) for name, tensor in before.items())


def test_one_class_alone_is_answered(tiny_clip, batch):
    method = create_method("tda", tiny_clip, ["corgi"]).eval()
    with torch.no_grad():
        assert method(batch[0]).isfinite().all()
    assert not len(cached_items(method.stream_state(), "negative").images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_caches_are_in_full_precision_whatever_the_towers_are(dtype):
    method = create_method("tda", build("clip_vit", dtype), ["corgi", "husky"]).eval()
    list(method.stream([torch.rand(3, 32, 32)]))
    wide = torch.promote_types(dtype, torch.float32)
    state = method.stream_state()
    assert {tensor.dtype for tensor in state.values()} == {wide, torch.int64}
    assert torch.isclose(
        state["positive_features"].sum(dim=1).norm(dim=-1).max(), torch.ones((), dtype=wide), atol=1e-2
    )


def test_mixed_precision_does_not_round_the_caches(tiny_clip):
    method = tda(tiny_clip)
    features, weights = (part.float() for part in stream())
    logits = 30 * features @ weights.T
    expected, _ = looked(method, features, logits)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = looked(method, features, logits)
    assert torch.equal(found, expected)


def test_memory_goes_where_the_method_goes(tiny_clip):
    images = [torch.rand(3, 32, 32) for _ in range(6)]
    method = create_method("tda", build("clip_vit"), ["corgi", "husky"])
    whole = [one.probability for one in method.stream(images)]
    method.forget()
    list(method.stream(images[:3]))
    method.double()
    assert method.stream_state()["positive_features"].dtype == torch.float64
    assert [one.probability for one in method.stream(images[3:])] == pytest.approx(whole[3:], abs=1e-5)


def test_gradients_reach_what_is_learnt_inside_and_take_caches_for_constants(tiny_clip, batch):
    method = create_method("coop", tiny_clip, ["corgi", "husky"], wrap=["tda"]).eval()
    x = tiny_clip.encode_image(batch[0])
    method.logits(x)[:, 0].sum().backward()
    inside = create_method("coop", tiny_clip, ["corgi", "husky"]).eval()
    inside.load_learnt_state({name.removeprefix("inner."): value for name, value in method.learnt_state().items()})
    inside.logits(x)[:, 0].sum().backward()
    for ours, alone in zip(method.parameters(), inside.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, alone.grad)


def test_other_classes_begin_a_new_stream(tiny_clip):
    method = tda(tiny_clip)
    list(method.stream([torch.rand(3, 32, 32)]))
    method.set_classes(["tabby cat", "violin"])
    assert method.stream_state()["images_seen"] == 0
    assert method.stream_state()["positive_features"].shape == (2, 3, 32)


@pytest.mark.parametrize("kind", ["entropy", "probability"])
def test_bounds_without_room_are_refused(kind, tiny_clip):
    with pytest.raises(ValueError, match=rf"least_{kind}=0.4 and most_{kind}=0.3 leave no room.*negative_capacity=0"):
        tda(tiny_clip, **{f"least_{kind}": 0.4, f"most_{kind}": 0.3})


def pictures(count):
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (40, 56, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("n_views", [1, 20])
def test_pictures_are_streamed_by_the_embedded_model(n_views):
    backbone = adaptkit.load_backbone("adaptkit-mini")
    names, shown = ["corgi", "husky", "violin"], pictures(4)
    method = create_method("tda", backbone, names, n_views=n_views)
    found = list(method.stream(iter(shown)))
    assert [len(one.probabilities) for one in found] == [3] * 4
    assert method.stream_state()["images_seen"] == 4
    assert method.training
    again = create_method("tda", backbone, names, n_views=n_views).predict(shown, batch_size=2)
    for one, other in zip(found, again, strict=True):
        assert one.labels == other.labels
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
    first = create_method("tda", backbone, names, n_views=n_views).predict(shown[:1])[0]
    assert first.probabilities == pytest.approx(found[0].probabilities, abs=1e-4)


RELEASED = {
    "imagenet": (2, 5),
    "caltech101": (5, 5),
    "dtd": (2, 3),
    "eurosat": (4, 8),
    "fgvc_aircraft": (2, 2),
    "food101": (1, 1),
    "oxford_flowers": (1, 5),
    "oxford_pets": (2, 7),
    "stanford_cars": (1, 7),
    "sun397": (2, 3),
    "ucf101": (3, 8),
}
PAPER = ("configs/paper/tda_few_shot.yaml", ())
ASKED_FOR = (None, ("SUITE", "paper", "METHODS", "[tda]", "PROTOCOL", "few_shot", "SELECTION", "published"))


@pytest.mark.parametrize("asked", [PAPER, ASKED_FOR, (None, (*ASKED_FOR[1], "RECIPE", "paper"))])
def test_weights_of_single_data_sets_are_stamped(asked):
    runs = load_bench(*asked).runs
    assert {run.dataset: (run.options.alpha, run.options.beta) for run in runs} == RELEASED
    assert {replace(run.options, alpha=2.0, beta=5.0) for run in runs} == {TDAConfig()}
    assert {run.dataset for run in runs if run.selection != "published"} == {"imagenet"}  # where they are the defaults
    assert {departure for run in runs for departure in run.departures} == set()


def test_by_default_all_data_sets_have_the_same_weights():
    runs = load_bench(overrides=["SUITE", "paper", "METHODS", "[tda]"]).runs
    assert {(run.options.alpha, run.options.beta, run.selection) for run in runs} == {(2, 5, "validation")}


def test_the_variants_of_imagenet_are_seen_in_several_views():
    settings = ["SUITE", "paper", "METHODS", "[tda]", "PROTOCOL"]
    assert {run.options.n_views for run in load_bench(overrides=[*settings, "domain_generalization"]).runs} == {64}
    assert {run.options.n_views for run in load_bench(overrides=[*settings, "few_shot"]).runs} == {1}

import pytest
import torch

from adaptkit.backbone.test_views import TestViews, views_of
from datasets_fewshot import FeatureStore, load_dataset
from tests.helpers.synthetic import synthetic_dataset
from trainers.compute.seeds import derived_seed, seeded
from trainers.config.training import ViewConfig
from trainers.feeding.batches import EncodedBatches, FeatureBatches, ImageBatches, viewed_batches
from trainers.feeding.encoder import ImageEncoder, random_view
from trainers.feeding.views import batch_bounds, epoch_order, view_seed

CPU = torch.device("cpu")
MODES = [ViewConfig("exact"), ViewConfig("pool", n_views=3), ViewConfig("none")]


@pytest.fixture
def encoder(tiny_clip, tmp_path):
    return ImageEncoder(tiny_clip, FeatureStore(tmp_path / "cache"), "fp32")


@pytest.mark.parametrize("views", MODES, ids=lambda views: views.augment)
def test_cached_features_are_those_of_the_views_that_the_image_loader_draws(views, encoder, tiny_clip, tmp_path):
    dataset = synthetic_dataset(tmp_path)
    items, epochs = dataset.split.train, 2
    features = encoder.view_features(dataset, items, views, seed=1, epochs=epochs)
    labels = torch.tensor([item.label for item in items])
    from_cache = FeatureBatches(features, labels, views, batch_size=8, drop_last=True, seed=1)
    from_images = ImageBatches(dataset, items, tiny_clip.preprocess_cfg, views, batch_size=8, drop_last=True, seed=1)
    for _ in range(epochs):
        for (x, y), (images, image_labels) in zip(from_cache, from_images, strict=True):
            assert torch.equal(y, image_labels)
            torch.testing.assert_close(x, tiny_clip.encode_image(images), rtol=1e-4, atol=1e-5)


def test_batches_say_which_items_their_rows_are_where_it_is_asked_for(encoder, tiny_clip, tmp_path):
    dataset = synthetic_dataset(tmp_path)
    items, views = dataset.split.train, ViewConfig("none")
    features = encoder.plain_features(dataset, items)
    labels = torch.tensor([item.label for item in items])
    cached = FeatureBatches(features[:, None], labels, views, batch_size=8, drop_last=False, seed=1)
    images = ImageBatches(dataset, items, tiny_clip.preprocess_cfg, views, batch_size=8, drop_last=False, seed=1)
    encoded = EncodedBatches(images, tiny_clip.encode_image)
    assert {len(batch) for batches in (cached, images, encoded) for batch in batches} == {2}
    cached.with_places = encoded.with_places = True
    for batches in (cached, encoded):
        batches.seek(0, 0)
        seen = []
        for x, y, places in batches:
            assert torch.equal(y, labels[places])
            torch.testing.assert_close(x, features[places], rtol=1e-4, atol=1e-5)
            seen += places.tolist()
        assert sorted(seen) == list(range(len(items)))


def test_exact_views_differ_from_epoch_to_epoch_and_plain_ones_do_not(encoder, tmp_path):
    dataset = synthetic_dataset(tmp_path)
    exact = encoder.view_features(dataset, dataset.split.train, ViewConfig("exact"), seed=1, epochs=3)
    plain = encoder.view_features(dataset, dataset.split.train, ViewConfig("none"), seed=1, epochs=3)
    assert exact.shape[:2] == (20, 3)
    assert plain.shape[:2] == (20, 1)
    assert not torch.allclose(exact[:, 0], exact[:, 1])


def test_longer_training_begins_with_the_same_views(encoder, tmp_path):
    dataset = synthetic_dataset(tmp_path)
    items = dataset.split.train[:2]
    short = encoder.view_features(dataset, items, ViewConfig("exact"), seed=1, epochs=2)
    long = encoder.view_features(dataset, items, ViewConfig("exact"), seed=1, epochs=11)
    torch.testing.assert_close(long[:, :2], short, rtol=1e-4, atol=1e-5)


def test_encoding_again_reads_the_store(encoder, tmp_path, monkeypatch):
    dataset = synthetic_dataset(tmp_path)
    first = encoder.test_features(dataset, dataset.split.test[2:5])
    monkeypatch.setattr(ImageEncoder, "_encode", None)
    assert torch.equal(encoder.test_features(dataset, dataset.split.test[2:5]), first)
    assert torch.equal(encoder.test_features(dataset, dataset.split.test)[2:5], first)


def test_number_of_decoding_processes_does_not_change_the_views(tiny_clip, tmp_path):
    dataset = synthetic_dataset(tmp_path)
    batches = [
        ImageBatches(dataset, dataset.split.train[:4], tiny_clip.preprocess_cfg, ViewConfig(), 4, True, 1, workers)
        for workers in (0, 1)
    ]
    (alone, _), (with_worker, _) = (next(iter(epoch)) for epoch in batches)
    assert torch.equal(alone, with_worker)


def test_drawing_views_leaves_the_global_generator_alone(tiny_clip, tmp_path):
    dataset = synthetic_dataset(tmp_path)
    before = torch.random.get_rng_state()
    list(ImageBatches(dataset, dataset.split.train, tiny_clip.preprocess_cfg, ViewConfig(), 8, True, 1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_view_is_fixed_by_seed_path_and_number(tiny_clip, tmp_path):
    dataset = synthetic_dataset(tmp_path)
    item = dataset.split.train[0]
    image = dataset.load(item)
    views = [random_view(image, tiny_clip.preprocess_cfg, view_seed(*key)) for key in ((1, "a", 0), (1, "a", 0))]
    assert torch.equal(*views)
    seeds = {view_seed(1, "a", 0), view_seed(2, "a", 0), view_seed(1, "b", 0), view_seed(1, "a", 1)}
    assert len(seeds) == 4


def test_every_epoch_shows_every_item_once_in_an_order_of_its_own():
    orders = [epoch_order(50, ViewConfig(), seed=1, epoch=epoch)[0].tolist() for epoch in range(2)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1]
    assert orders[0] == epoch_order(50, ViewConfig("none"), seed=1, epoch=0)[0].tolist()


def test_pool_draws_among_its_views_only():
    _, views = epoch_order(500, ViewConfig("pool", n_views=3), seed=1, epoch=0)
    assert set(views.tolist()) == {0, 1, 2}


def test_short_last_batch_is_dropped_unless_it_is_the_only_one():
    assert batch_bounds(70, 32, drop_last=True) == [(0, 32), (32, 64)]
    assert batch_bounds(64, 32, drop_last=True) == [(0, 32), (32, 64)]
    assert batch_bounds(20, 32, drop_last=True) == [(0, 20)]
    assert batch_bounds(70, 32, drop_last=False) == [(0, 32), (32, 64), (64, 70)]


def test_no_view_is_refused():
    with pytest.raises(ValueError, match="n_views=0; expected 1 or more"):
        ViewConfig("pool", n_views=0)


def test_seeds_are_equal_everywhere_and_differ_by_part():
    assert derived_seed("view", 1, "a.png", 0) == 2973641872545514428
    assert derived_seed("a", "b") != derived_seed("ab") != derived_seed("a", 1)


def test_seeded_block_repeats_and_restores():
    before = torch.random.get_rng_state()
    with seeded(7, CPU):
        first = torch.rand(3)
    with seeded(7, CPU):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_test_images_come_in_views_in_order_and_complete(tiny_clip):
    dataset = load_dataset("emoji_animals")
    items, views = dataset.split.test[:3], TestViews(4)
    batches = list(viewed_batches(dataset, items, tiny_clip, views, most_views=8))
    assert [tuple(pixels.shape) for pixels, _ in batches] == [(2, 4, 3, 32, 32), (1, 4, 3, 32, 32)]
    assert torch.cat([labels for _, labels in batches]).tolist() == [item.label for item in items]
    expected = views_of(dataset.load(items[2]), tiny_clip, views)
    assert torch.equal(batches[1][0][0], expected)


def test_views_of_test_images_are_encoded_once_and_in_any_order(encoder, tiny_clip, tmp_path, monkeypatch):
    dataset, views = synthetic_dataset(tmp_path), TestViews(3)
    items = dataset.split.test
    first = encoder.test_view_features(dataset, items, views)
    pixels = torch.stack([views_of(dataset.load(item), tiny_clip, views) for item in items])
    with torch.no_grad():
        expected = tiny_clip.encode_image(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(type(tiny_clip), "encode_image", None)
    assert torch.equal(encoder.test_view_features(dataset, items[::-1], views), first.flip(0))

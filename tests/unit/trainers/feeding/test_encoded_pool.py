"""Parts of a pool have the features that they have alone, and are encoded once."""

import pytest
import torch

from datasets_fewshot import FeatureStore
from tests.helpers.synthetic import synthetic_dataset
from trainers.config.training import ViewConfig
from trainers.feeding.encoded_pool import PoolEncoder
from trainers.feeding.encoder import ImageEncoder


@pytest.mark.parametrize("views", [ViewConfig("none"), ViewConfig("pool", n_views=2)])
def test_parts_have_the_features_that_they_have_alone(views, tiny_clip, tmp_path, monkeypatch):
    dataset = synthetic_dataset(tmp_path / "data", train=3)
    items = dataset.split.train
    alone = ImageEncoder(tiny_clip, FeatureStore(tmp_path / "alone"), "fp32")
    pool = PoolEncoder(ImageEncoder(tiny_clip, FeatureStore(tmp_path / "pool"), "fp32"), items)
    part = items[5:1:-1]
    found = pool.view_features(dataset, part, views, 1, 1)
    torch.testing.assert_close(found, alone.view_features(dataset, part, views, 1, 1))
    rows, others = (encoder.view_tokens(dataset, part, views, 1, 1) for encoder in (pool, alone))
    assert rows is not None
    assert others is not None
    torch.testing.assert_close(rows[torch.arange(4)], others[torch.arange(4)], rtol=1e-2, atol=1e-2)
    monkeypatch.setattr(pool.backbone, "encode_image", None)  # nothing is encoded again
    torch.testing.assert_close(pool.view_features(dataset, items[2:6], views, 1, 1).flip(0), found)


def test_what_is_not_in_the_pool_is_encoded_as_ever(tiny_clip, tmp_path):
    dataset = synthetic_dataset(tmp_path / "data", train=3)
    pool = PoolEncoder(ImageEncoder(tiny_clip, FeatureStore(tmp_path / "pool"), "fp32"), dataset.split.train[:2])
    assert pool.plain_features(dataset, dataset.split.test[:3]).shape[0] == 3

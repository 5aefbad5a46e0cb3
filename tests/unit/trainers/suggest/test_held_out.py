"""Held-out answers: no model has learnt from the images that it answers on, and images are encoded once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from adaptkit import create_method
from datasets_fewshot import FeatureStore
from tests.helpers.synthetic import synthetic_dataset
from trainers.config.training import ViewConfig
from trainers.feeding.encoded_pool import PoolEncoder
from trainers.feeding.encoder import ImageEncoder
from trainers.fit.folds import Folds, make_folds
from trainers.runs.data import Bench
from trainers.runs.replicas import learn_together
from trainers.suggest.held_out import answers, held_out_answers
from trainers.suggest.recipe import recipe_of


@pytest.fixture
def dataset(tmp_path):
    return synthetic_dataset(tmp_path, train=4)


@pytest.fixture
def bench(tiny_clip, tmp_path):
    encoder = ImageEncoder(tiny_clip, FeatureStore(tmp_path / "store"), "fp32")
    return Bench(tiny_clip, encoder, "fp32", "own", Path())


def close(ours, alone, within=1e-4):
    """Rows of one image depend on how many are encoded with it, by the rounding of sums."""
    assert torch.allclose(ours, alone, atol=within)


def recipe(name, dataset, bench):
    method = create_method(name, bench.backbone, dataset.classnames)
    return recipe_of(method, dataset.image_root, len(dataset.split.train), 1, bench, ["OPTIM.STEPS", "3"])


@pytest.mark.parametrize("name", ["linear_probe", "clip_adapter", "clip_lora"])
def test_no_model_learns_from_the_images_it_answers_on(name, dataset, bench, monkeypatch):
    seen = []

    def spied(runs, bench):
        seen.extend(runs)
        return learn_together(runs, bench)

    monkeypatch.setattr("trainers.suggest.held_out.learn_together", spied)
    items = dataset.split.train
    folds = Folds((tuple(range(1, len(items), 2)), tuple(range(2, len(items), 2))), len(items))  # the first in none
    found = held_out_answers(recipe(name, dataset, bench), dataset, items, folds, (), bench, lambda _: None)
    assert found.places.tolist() == list(range(1, len(items)))
    assert np.isfinite(found.logits).all()
    for fold, run in enumerate(seen):
        assert set(run.task.train) == set(items) - {items[place] for place in folds.held[fold]}
    learnt = learn_together(seen[:1], bench)[0].method
    ours = np.array(folds.held[0])
    again = answers(learnt, dataset, [items[place] for place in ours], bench)
    assert found.logits[ours - 1] == pytest.approx(again, abs=1e-4)


def test_images_are_encoded_once_for_all_folds(dataset, bench, monkeypatch):
    calls = []
    encode = ImageEncoder._encode

    def spied(self, images, n_views, towers):
        calls.append(len(images))
        return encode(self, images, n_views, towers)

    monkeypatch.setattr(ImageEncoder, "_encode", spied)
    items = dataset.split.train
    folds = make_folds([item.label for item in items], range(len(items)), 1, 4)
    config = recipe("linear_probe", dataset, bench)
    held_out_answers(config, dataset, items, folds, (), bench, lambda _: None)
    assert calls.count(len(items)) == len(calls) <= 2, "the views to learn from, and the images as they are"


def test_parts_are_encoded_as_they_are_alone(dataset, bench):
    items = dataset.split.train
    together = PoolEncoder(bench.encoder, items)
    part = items[3:1:-1]
    others = dataset.split.test
    for some in (part, others):
        close(together.plain_features(dataset, some), bench.encoder.plain_features(dataset, some))
    views = ViewConfig("pool", 2)
    close(together.view_features(dataset, part, views, 1, 3), bench.encoder.view_features(dataset, part, views, 1, 3))
    ours, alone = (one.view_tokens(dataset, part, ViewConfig("none"), 0, 0) for one in (together, bench.encoder))
    close(ours[torch.arange(2)], alone[torch.arange(2)], 1e-2)  # half precision

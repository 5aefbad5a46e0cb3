"""Decoded pixels are kept within a budget, and batches made of them are the same."""

import torch

from adaptkit import FrozenCLIP
from datasets_fewshot import load_dataset
from trainers.config.training import ViewConfig
from trainers.feeding.batches import ImageBatches, evaluation_batches
from trainers.feeding.kept_pixels import KeptPixels


def test_what_was_not_asked_for_longest_is_decoded_again():
    kept, decoded = KeptPixels(budget=2 * 40), []

    def ask(key: str) -> torch.Tensor:
        return kept.get(key, lambda: decoded.append(key) or torch.full((10,), float(ord(key))))

    for key in "abacb":
        assert ask(key)[0] == ord(key)
    assert decoded == ["a", "b", "c", "b"]


def test_epochs_and_tests_are_the_same_with_kept_pixels_and_without(tiny_clip: FrozenCLIP, monkeypatch):
    dataset, kept = load_dataset("emoji_activities"), KeptPixels()
    items, preprocess = dataset.split.train[:10], tiny_clip.preprocess_cfg

    def epochs(pixels):
        batches = ImageBatches(dataset, items, preprocess, ViewConfig("none"), 4, True, 1, kept=pixels)
        return [*batches, *batches, *evaluation_batches(dataset, items, preprocess, 4, kept=pixels)]

    expected, first = epochs(None), epochs(kept)
    monkeypatch.setattr(type(dataset), "load", None)  # from here on every image comes out of memory
    for rows in (first, epochs(kept)):
        for (x, y), (expected_x, expected_y) in zip(rows, expected, strict=True):
            assert torch.equal(x, expected_x)
            assert torch.equal(y, expected_y)

"""Batches of pairs: every image once an epoch, with one of its own captions, the same on every machine."""

import pytest
import torch
from PIL import Image

from datasets_fewshot.pairs.pair_set import Captioned, PairSet
from tests.helpers.models import build
from trainers.config.training import ViewConfig
from trainers.pairs.batches import PairBatches, as_dataset, captions_of


@pytest.fixture(scope="module")
def backbone():
    return build("clip_vit")


@pytest.fixture
def pairs(tmp_path):
    listed = []
    for place in range(7):
        Image.new("RGB", (32, 32), (place * 30, 0, 0)).save(tmp_path / f"{place}.png")
        captions = tuple(f"caption {number} of image {place}" for number in range(1 + place % 3))
        listed.append(Captioned(f"{place}.png", captions, f"group {place // 2}"))
    return PairSet("made", tmp_path, tuple(listed), (), ())


def batches_of(pairs, backbone, **more):
    captions = captions_of(pairs.train, backbone.tokenizer)
    groups = torch.tensor([int(item.group.split()[1]) for item in pairs.train])
    return PairBatches(
        as_dataset(pairs), captions, groups, backbone.preprocess_cfg, ViewConfig("none"), 3, seed=5, **more
    )


def test_every_image_is_shown_once_with_a_caption_of_its_own(pairs, backbone):
    batches = batches_of(pairs, backbone)
    assert len(batches) == 2  # of three pairs; the seventh image is left out of this epoch
    seen = set()
    for epoch in range(6):
        shown = [text for batch in batches.epoch(epoch) for text in batch.texts]
        images = [int(text.split()[-1]) for text in shown]
        assert len(set(images)) == 6
        for batch in batches.epoch(epoch):
            for image, text, group in zip(batch.images, batch.texts, batch.groups, strict=True):
                number = int(text.split()[-1])
                assert group == number // 2
                assert (image[0].mean() > image[1].mean()) or number == 0
        seen |= set(shown)
    assert {text for text in seen if text.endswith("image 2")} == set(pairs.train[2].captions)


def test_an_epoch_can_be_begun_in_the_middle(pairs, backbone):
    batches = batches_of(pairs, backbone)
    first, second = batches.epoch(1)
    (again,) = batches.epoch(1, skip=1)
    assert again.texts == second.texts != first.texts
    assert torch.equal(again.images, second.images)


def test_kept_features_are_those_of_the_drawn_captions(pairs, backbone):
    plain = batches_of(pairs, backbone)
    captions = plain.captions
    kept = batches_of(
        pairs,
        backbone,
        image_features=torch.arange(7.0)[:, None],
        text_features=torch.arange(len(captions.texts))[:, None],
    )
    for batch, features in zip(plain.epoch(2), kept.epoch(2), strict=True):
        assert [captions.texts[place] for place in features.texts[:, 0].tolist()] == batch.texts
        assert torch.equal(captions.image[features.texts[:, 0]].float(), features.images[:, 0])


def test_captions_that_are_too_long_are_cut_and_counted(backbone):
    items = [Captioned("a.png", ("a cat", "word " * 200), "a")]
    captions = captions_of(items, backbone.tokenizer)
    assert captions.cut == 1
    assert captions.texts[0] == "a cat"
    assert len(backbone.tokenize(captions.texts)) == 2

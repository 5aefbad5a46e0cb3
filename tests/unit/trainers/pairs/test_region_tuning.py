"""The second stage: region-text pairs, their scores, and a training that goes on."""

import pytest
import torch
from PIL import Image

from adaptkit import create_head, create_method
from adaptkit.heads.villa import grid_boxes
from datasets_fewshot.pairs.pair_set import Captioned
from trainers.config.settings import CheckpointConfig
from trainers.pairs.region_data import RegionData
from trainers.pairs.region_pairs import WHOLE, pair_features, region_pairs, text_embeddings
from trainers.pairs.region_tuning import FeatureBatches, RegionTuning, scores_of, tune_on_regions
from trainers.retrieval.region_index import RegionSource, build_region_index

TEXTS = ("Red paint. A blue door.", "The door is blue.", "Nothing here.", "Red again.")


@pytest.fixture
def given(tiny_clip, tmp_path):
    """Data, a mapping model and an index."""
    images = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "white", "red")]
    names = tuple(f"{place}.png" for place in range(4))
    boxes = [grid_boxes((2,))] * 4
    source = RegionSource("/", names, boxes, lambda image: images[image])
    items = tuple(Captioned(name, (text,), name) for name, text in zip(names, TEXTS, strict=True))
    data = RegionData("toy", items, ("train", "train", "train", "val"), TEXTS, TEXTS, source, ())
    torch.manual_seed(0)
    mapper = create_head("villa", tiny_clip, attributes=("red", "blue"), epsilon=0.0)
    return data, mapper, build_region_index(source, tiny_clip, tmp_path / "index")


def test_pairs_are_regions_with_sentences_and_whole_images_with_whole_texts(given, tiny_clip):
    data, mapper, index = given
    pairs = region_pairs(mapper, index, data, [0, 1, 2], seed=1)
    whole = {
        image: said for image, box, said in zip(pairs.image, pairs.box, pairs.sentences, strict=True) if box == WHOLE
    }
    assert whole == {0: ("Red paint", "A blue door"), 1: ("The door is blue",), 2: ("Nothing here",)}
    regions = {said for box, own in zip(pairs.box, pairs.sentences, strict=True) if box != WHOLE for said in own}
    assert regions == {"Red paint", "A blue door", "The door is blue"}
    assert pairs.unnamed == 0
    features = pair_features(mapper, index, data, pairs)
    assert features.shape == (len(pairs), tiny_clip.embed_dim)
    texts = text_embeddings(tiny_clip, pairs)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(len(pairs)))
    with pytest.raises(ValueError, match="there are no region-text pairs"):
        region_pairs(mapper, index, data, [2], seed=1)


def test_regions_of_equal_texts_are_all_right():
    rows = torch.eye(3)
    texts = torch.stack([rows[0], rows[0], rows[2]])
    scores = scores_of(torch.stack([rows[0], rows[0], rows[2]]), texts, torch.tensor([4, 4, 9]))
    assert (scores.to_texts, scores.to_regions) == (100, 100)


def test_batches_begin_anywhere():
    settings = RegionTuning(batch_size=2)
    batches = FeatureBatches(torch.arange(5.0)[:, None], torch.zeros(5, 1), torch.arange(5), settings)
    assert len(batches) == 3
    first = [batch[0].flatten().tolist() for batch in batches]
    assert sorted(value for batch in first for value in batch) == [0, 1, 2, 3, 4]
    batches.seek(0, 1)
    assert [batch[0].flatten().tolist() for batch in batches] == first[1:]


@pytest.mark.parametrize("name", ["clip_adapter", "clip_lora"])
def test_an_interrupted_training_ends_with_the_same_bits(given, tiny_clip, tmp_path, monkeypatch, name):
    data, mapper, index = given
    settings = RegionTuning(epochs=3, batch_size=3, piece=2)
    every_step = CheckpointConfig(seconds=0, steps=1)

    def method():
        torch.manual_seed(0)
        return create_method(name, tiny_clip, None)

    whole = tune_on_regions(method(), mapper, index, data, settings)
    assert whole.before is not None

    def stopped(*given, **named):
        if stopped.calls == 3:
            raise KeyboardInterrupt
        stopped.calls += 1
        return step(*given, **named)

    stopped.calls, step = 0, torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        tune_on_regions(method(), mapper, index, data, settings, tmp_path / "work", every_step)
    monkeypatch.undo()
    assert stopped.calls == 3
    ended = tune_on_regions(method(), mapper, index, data, settings, tmp_path / "work", every_step)
    assert ended.losses == whole.losses
    state = ended.method.learnt_state()
    assert all(torch.equal(tensor, state[key]) for key, tensor in whole.method.learnt_state().items())

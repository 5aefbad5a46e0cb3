"""Meta-training: which classes it may see, what it writes, and that it goes on where it stopped."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from adaptkit.features.sinc_meta import EpisodeMix, MetaModel, read_meta_model
from datasets_fewshot import FeatureStore, FewShotDataset, Item, Split
from trainers.config.settings import CheckpointConfig
from trainers.feeding.encoder import ImageEncoder
from trainers.runs.data import Bench
from trainers.studies.sinc import meta_training
from trainers.studies.sinc.meta_training import MetaTrainee, MetaTraining, cluster_texts, make_pool, usable_classes

NAMES = ("cat", "low battery", "dog", "fire engine", "clocks")
SETTINGS = MetaTraining(
    steps=8, batch_size=2, views=2, clusters=(2,), width=8, layers=1, heads=2, mlp_ratio=1, mix=EpisodeMix(most_ways=3)
)


@pytest.fixture
def bench(tmp_path, tiny_clip, monkeypatch):
    monkeypatch.setattr(meta_training, "STEPS_OF_A_PASS", 3)
    encoder = ImageEncoder(tiny_clip, FeatureStore(tmp_path / "cache"), "fp32")
    return Bench(tiny_clip, encoder, "fp32", "mini", tmp_path, checkpoint=CheckpointConfig(steps=1))


@pytest.fixture
def dataset(tmp_path):
    """Three training images of every class, and a test image that nothing may read."""
    generator = torch.Generator().manual_seed(0)
    items = []
    for label, name in enumerate(NAMES):
        for index in range(3):
            path = f"{label}_{index}.png"
            pixels = torch.randint(0, 255, (4, 4, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).resize((40, 40)).save(tmp_path / path)
            items.append(Item(path, label, name))
    tests = tuple(Item(f"missing_{label}.png", label, name) for label, name in enumerate(NAMES))
    return FewShotDataset("drawings", tmp_path, Split(tuple(items), (), tests))


@pytest.fixture
def held_out(tmp_path):
    items = (Item("no.png", 0, "battery"), Item("no.png", 1, "alarm clock"))
    return FewShotDataset("measured", tmp_path, Split(items, (), items))


def trained(dataset, held_out, bench, out, on_epoch=None):
    return meta_training.train_meta_model([dataset], [held_out], SETTINGS, bench, out, on_epoch)


def test_classes_that_share_words_with_held_out_ones_are_left_out(dataset, held_out):
    assert usable_classes([dataset], [held_out]) == ("cat", "dog", "fire engine")
    with pytest.raises(ValueError, match="0 of 5 classes"):
        usable_classes([dataset], [dataset])


def test_the_pool_holds_training_images_of_usable_classes_alone(dataset, held_out, bench):
    pool = make_pool([dataset], usable_classes([dataset], [held_out]), bench.encoder, SETTINGS)
    assert pool.features.shape == (9, 2, 32)
    torch.testing.assert_close(pool.features.norm(dim=-1), torch.ones(9, 2))
    assert pool.labellings[0].labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [len(labelling.texts) for labelling in pool.labellings] == [3, 2]


def test_it_starts_as_zero_shot_clip(dataset, held_out, bench):
    pool = make_pool([dataset], usable_classes([dataset], [held_out]), bench.encoder, SETTINGS)
    trainee = MetaTrainee(bench.backbone, pool, SETTINGS)
    before = trainee.logits(torch.tensor([1, 2]))
    with torch.no_grad():
        for name, parameter in trainee.meta.named_parameters():
            if name != "raw_gamma":
                parameter.normal_()
    assert torch.equal(trainee.logits(torch.tensor([1, 2])), before)
    assert trainee.loss(torch.tensor([1, 2]), torch.zeros(2)).isfinite()


def test_the_file_says_which_classes_were_seen_and_which_never(dataset, held_out, bench, tmp_path):
    losses = trained(dataset, held_out, bench, tmp_path / "out" / "meta.safetensors")
    assert len(losses) == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["meta.safetensors"]  # no checkpoint is left
    loaded = read_meta_model(str(tmp_path / "out" / "meta.safetensors"), bench.backbone)
    assert loaded.provenance.seen == ("cat", "dog", "fire engine")
    assert loaded.provenance.held_out == ("battery", "alarm clock")
    assert isinstance(loaded.model, MetaModel)
    assert loaded.model.gamma.item() != 0


def test_an_interrupted_training_ends_with_the_same_file(dataset, held_out, bench, tmp_path):
    trained(dataset, held_out, bench, tmp_path / "whole")

    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(dataset, held_out, bench, tmp_path / "again", stop)
    assert not (tmp_path / "again").exists()
    passes = []
    trained(dataset, held_out, bench, tmp_path / "again", passes.append)
    assert passes[0] > 1  # it went on
    whole, again = load_file(tmp_path / "whole"), load_file(tmp_path / "again")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_clusters_hold_texts_that_are_near():
    centres = torch.eye(3).repeat_interleave(5, dim=0)
    texts = torch.nn.functional.normalize(centres + 0.05 * torch.randn(15, 3), dim=-1)
    found = {tuple(cluster_texts(texts, 3, seed).view(3, 5).flatten().tolist()) for seed in range(8)}
    assert any(all(len(set(labels[start : start + 5])) == 1 for start in (0, 5, 10)) for labels in found)

"""Training a mapping model: what it learns from, what it refuses, and going on from a checkpoint."""

import pytest
import torch

from adaptkit import create_head
from trainers.config.settings import CheckpointConfig
from trainers.fit.regions import MapperTraining, MappingBatches, RegionsInMemory, train_mapper


@pytest.fixture
def regions(tiny_clip):
    torch.manual_seed(0)
    counts = torch.tensor([2, 1, 3, 2, 4, 1])
    return RegionsInMemory(torch.randn(int(counts.sum()), tiny_clip.embed_dim), counts)


LABELS = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0], [0, 0], [0, 1]])


def mapper(backbone):
    torch.manual_seed(0)
    return create_head("villa", backbone, attributes=("red", "blue"))


def test_batches_have_regions_labels_and_counts_and_leave_out_what_teaches_nothing(regions):
    batches = MappingBatches(regions, [3, 4, 0, 1], LABELS, 2, seed=0)
    seen = list(batches)
    assert 1 <= len(seen) <= 2
    for rows, labels, counts in seen:
        assert len(rows) == int(counts.sum())
        assert labels.any()
    again = MappingBatches(regions, [3, 4, 0, 1], LABELS, 2, seed=0)
    again.seek(0, 1)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(list(again), seen[1:], strict=True))


def test_an_interrupted_training_ends_with_the_same_bits(tiny_clip, regions, tmp_path):
    settings = MapperTraining(epochs=4, lr=1e-2, batch_size=3)
    whole = mapper(tiny_clip)
    losses = train_mapper(whole, regions, LABELS, settings)
    assert losses[-1] < losses[0]

    def stop(epoch):
        if epoch == 2:
            raise KeyboardInterrupt

    for on_epoch in (stop, None):
        head = mapper(tiny_clip)
        every_step = CheckpointConfig(seconds=0, steps=1)
        try:
            ended = train_mapper(
                head, regions, LABELS, settings, work=tmp_path, checkpoint=every_step, on_epoch=on_epoch
            )
        except KeyboardInterrupt:
            continue
    assert ended == losses
    for name, tensor in whole.learnt_state().items():
        assert torch.equal(tensor, head.learnt_state()[name])


def test_what_cannot_be_learnt_from_is_refused(tiny_clip, regions):
    with pytest.raises(ValueError, match=r"expected \(6, 2\)"):
        train_mapper(mapper(tiny_clip), regions, LABELS[:5], MapperTraining())
    with pytest.raises(ValueError, match="none of 2 training images lists any of 2 attributes"):
        train_mapper(mapper(tiny_clip), regions, LABELS, MapperTraining(), images=[3, 4])
    broken = RegionsInMemory(torch.full_like(regions.features, torch.nan), regions.counts)
    with pytest.raises(ArithmeticError, match="lower the learning rate"):
        train_mapper(mapper(tiny_clip), broken, LABELS, MapperTraining(epochs=1))

"""The best epoch of a training is kept where checkpoints find it."""

import torch

from trainers.pairs.upgrade.best import BestEpoch


def test_the_best_epoch_is_kept_and_of_equal_ones_the_first():
    learnt = {"a": torch.zeros(2)}
    best = BestEpoch(learnt, 10.0)
    for epoch, score in enumerate((9.0, 12.0, 12.0, 11.0), start=1):
        learnt["a"].fill_(epoch)
        best.see(epoch, score, learnt)
    assert (int(best.epoch), float(best.score)) == (2, 12.0)
    assert torch.equal(best.tensors()["a"], torch.full((2,), 2.0))


def test_another_one_goes_on_from_its_buffers():
    best = BestEpoch({"a.b": torch.zeros(2)}, 1.0)
    best.see(3, 2.0, {"a.b": torch.ones(2)})
    other = BestEpoch({"a.b": torch.zeros(2)}, 5.0)
    other.load_state_dict(best.state_dict())
    assert (int(other.epoch), float(other.score)) == (3, 2.0)
    assert torch.equal(other.tensors()["a.b"], torch.ones(2))

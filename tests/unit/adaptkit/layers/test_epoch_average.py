"""The Gaussian mean over epochs."""

import math

import torch

from adaptkit.layers.epoch_average import EpochAverage, gaussian_weights


def test_weights_are_a_gaussian_with_the_sum_one():
    weights = gaussian_weights(range(1, 21), mean=15, std=1)
    torch.testing.assert_close(weights.sum(), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(weights[14] / weights[13], torch.tensor(math.exp(0.5), dtype=torch.float64))
    assert [round(float(weight), 3) for weight in weights[12:17]] == [0.054, 0.242, 0.399, 0.242, 0.054]


def test_epochs_far_from_the_mean_still_have_a_mean():
    weights = gaussian_weights(range(1, 4), mean=500, std=0.5)
    assert weights.isfinite().all()
    assert weights[2] == 1


def average_of(values, mean, std):
    learnt = [torch.zeros(())]
    average = EpochAverage(learnt, mean, std)
    for epoch, value in enumerate(values):
        learnt[0].fill_(value)
        average.add(learnt, epoch)
    average.swap(learnt)
    return learnt[0], average


def test_the_mean_is_the_weighted_sum_over_the_epochs():
    values = torch.tensor([3.0, -1.0, 4.0, 1.0, -5.0])
    mean, _ = average_of(values.tolist(), 2, 1.5)
    expected = (gaussian_weights(range(1, 6), 2, 1.5) * values).sum()
    torch.testing.assert_close(mean, expected.float())


def test_a_narrow_gaussian_picks_its_epoch():
    mean, _ = average_of([3.0, -1.0, 4.0], 2, 1e-3)
    assert float(mean) == -1.0


def test_swapping_twice_puts_everything_back():
    mean, average = average_of([3.0, -1.0], 1, 1)
    before = mean.clone()
    average.swap([mean])
    assert float(mean) == -1.0
    average.swap([mean])
    assert torch.equal(mean, before)


def test_before_the_first_epoch_there_is_nothing_to_swap():
    learnt = [torch.ones(2)]
    EpochAverage(learnt, 1, 1).swap(learnt)
    assert torch.equal(learnt[0], torch.ones(2))


def test_a_saved_average_goes_on_where_it_was():
    learnt = [torch.tensor(3.0)]
    whole, first_half, second_half = (EpochAverage(learnt, 2, 1) for _ in range(3))
    whole.add(learnt, 0)
    first_half.add(learnt, 0)
    second_half.load_state_dict(first_half.state_dict())
    learnt[0].fill_(-1.0)
    whole.add(learnt, 1)
    second_half.add(learnt, 1)
    assert torch.equal(whole.kept_0, second_half.kept_0)

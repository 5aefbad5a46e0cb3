"""Images that are one image to a search: those with the same features, in whatever length."""

import torch

from trainers.fit.auto.alike import alike, all_alike


def test_equal_images_of_a_class_are_found():
    features = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    features[3] = 2 * features[1]  # as long as its direction is the same
    features[5] = features[4]
    features[9] = features[0]  # of another class
    assert alike(features, [0] * 6 + [1] * 6) == [0, 1, 2, 1, 4, 4, 6, 7, 8, 9, 10, 11]


def test_images_that_are_all_alike_are_noticed():
    one = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    assert all_alike(one * torch.tensor([[1.0], [2.0], [0.5]]))
    assert not all_alike(torch.cat([one, one + 0.1]))

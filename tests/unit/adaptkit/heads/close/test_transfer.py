"""The transfer that heads hold: the same images whatever the adapter, and what has to be estimated first."""

from typing import get_args

import pytest
import torch

from adaptkit.heads.close.transfer import AdapterName, Transfer, TransferOptions, default_sigma

D = 16
NAMES = get_args(AdapterName)
NEED_IMAGES = ("mean_shift", "covariance", "linear")


def fitted(**options: object) -> Transfer:
    transfer = Transfer(TransferOptions(**options), D)
    transfer.fit(torch.randn(40, D) + 1, torch.randn(40, D) - 1)
    return transfer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_training", [True, False])
def test_images_pass_every_adapter_unchanged(name, is_training):
    images = torch.randn(5, D)
    expected = torch.nn.functional.normalize(images, dim=-1)
    assert torch.equal(fitted(adapter=name).train(is_training).of_images(images), expected)


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_told_apart_from_images_by_their_marks(name):
    torch.manual_seed(0)
    transfer, rows = fitted(adapter=name), torch.randn(4, D)
    mixed = transfer.train().of_mixed(rows, torch.tensor([True, False, True, False]))
    images = transfer.of_images(rows)
    assert torch.equal(mixed[::2], images[::2])
    assert (mixed[1::2] - images[1::2]).abs().max() > 1e-3


@pytest.mark.parametrize("name", NEED_IMAGES)
def test_an_adapter_that_needs_images_says_so_before_it_learns(name):
    with pytest.raises(ValueError, match=rf"adapter='{name}' has seen no images; call transfer.fit"):
        Transfer(TransferOptions(adapter=name), D).of_texts(torch.randn(2, D))


def test_centring_needs_images_and_moves_them_onto_the_texts():
    with pytest.raises(ValueError, match="centre=True has seen no images"):
        Transfer(TransferOptions(centre=True), D).of_texts(torch.randn(2, D))
    torch.manual_seed(0)
    images, texts = torch.randn(400, D) + 1, torch.randn(400, D) - 1
    transfer = Transfer(TransferOptions(centre=True), D)
    transfer.fit(images, texts)
    plain = Transfer(TransferOptions(), D).eval()
    goal = plain.of_texts(texts).mean(dim=0)
    near, far = ((one.of_images(images).mean(dim=0) - goal).norm() for one in (transfer, plain))
    assert near < 0.1 * far


def test_the_direction_of_a_random_shift_is_drawn_from_its_seed():
    first, again, other = (
        Transfer(TransferOptions(adapter="random_shift", direction_seed=seed), D).adapter.direction
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.testing.assert_close(first.norm(), torch.tensor(1.0))


def test_the_default_noise_is_as_long_at_every_width():
    assert default_sigma(512) == 0.05
    assert default_sigma(768) * 768**0.5 == pytest.approx(0.05 * 512**0.5)
    assert Transfer(TransferOptions(), D).adapter.sigma == default_sigma(D)
    assert Transfer(TransferOptions(sigma=0.0), D).adapter.sigma == 0


def test_options_reach_the_adapter():
    made = Transfer(TransferOptions(adapter="mean_shift", sigma=0.3, scale=2.0, renorm=False), D).adapter
    assert (made.sigma, made.scale, made.renorm) == (0.3, 2.0, False)
    made = Transfer(TransferOptions(adapter="covariance", use_shift=False), D).adapter
    assert (made.use_shift, made.use_covariance) == (False, True)


def test_no_features_and_no_pairs_are_refused():
    with pytest.raises(ValueError, match="0 images and 3 texts"):
        Transfer(TransferOptions(adapter="mean_shift"), D).fit(torch.randn(0, D), torch.randn(3, D))
    with pytest.raises(ValueError, match="are no pairs"):
        Transfer(TransferOptions(adapter="linear"), D).fit(torch.randn(4, D), torch.randn(3, D))


def test_covariance_with_neither_of_its_parts_is_refused():
    with pytest.raises(ValueError, match="use_shift=False and use_covariance=False leave plain noise"):
        TransferOptions(adapter="covariance", use_shift=False, use_covariance=False)

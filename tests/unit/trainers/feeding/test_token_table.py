"""Rows of the image tower in half precision, and what of them stays exact."""

import torch

from adaptkit import FrozenCLIP
from trainers.feeding.token_table import TokenTable, pack, packed_width, unpack


def test_the_class_token_comes_back_to_the_last_bit_and_patches_in_half():
    rows = torch.randn(3, 5, 8) * torch.tensor([1e-8, 1.0, 1e4])[:, None, None]
    packed = pack(rows)
    assert packed.shape == (3, packed_width(5, 8))
    assert packed.dtype == torch.float16
    again = unpack(packed, 8)
    assert torch.equal(again[:, 0], rows[:, 0])
    assert torch.equal(again[:, 1:], rows[:, 1:].half().float())


def test_features_from_a_table_are_those_of_the_image_tower(tiny_clip: FrozenCLIP):
    images = torch.randn(4, 3, 32, 32)
    rows = unpack(pack(tiny_clip.encode_tokens(images)), tiny_clip.vision_width)
    assert torch.equal(tiny_clip.project_tokens(rows[:, 0]), tiny_clip.encode_image(images))


def test_a_table_gives_the_view_of_the_image_that_is_asked_for():
    rows = torch.randn(6, 5, 8)
    table = TokenTable(pack(rows).view(3, 2, -1), 8)
    assert torch.equal(table[torch.tensor([2, 0]), torch.tensor([1, 0])][:, 0], rows[[5, 0], 0])
    assert table[torch.tensor([1])].shape == (1, 2, 5, 8)

"""Rows of the image tower in half precision, and what of them stays exact."""

import pytest
import torch

from adaptkit import FrozenCLIP, create_method
from datasets_fewshot import FeatureStore, load_dataset
from trainers.config.training import ViewConfig
from trainers.feeding.encoder import ImageEncoder
from trainers.feeding.token_table import TokenTable, pack, packed_width, unpack
from trainers.runs.data import Bench


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


@pytest.mark.parametrize(("name", "n_rows"), [("prolip", 1), ("fdt", 17)])
def test_a_method_that_reads_the_first_row_alone_has_no_other_kept(name, n_rows, tiny_clip, classes, tmp_path):
    encoder = ImageEncoder(tiny_clip, FeatureStore(tmp_path / "cache"), "fp32")
    bench = Bench(tiny_clip, encoder, "fp32", "mini", tmp_path)
    dataset = load_dataset("emoji_food")
    items = dataset.split.train[:3]
    feed = bench.feed(create_method(name, tiny_clip, classes))
    rows = feed.together(dataset, items, ViewConfig("none"), 0)
    assert rows.shape == (3, 1, n_rows, tiny_clip.vision_width)
    features = encoder.plain_features(dataset, items)
    torch.testing.assert_close(tiny_clip.project_tokens(rows[:, 0, 0]), features, rtol=1e-4, atol=1e-5)

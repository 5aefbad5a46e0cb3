"""Costs and sizes at ViT-B/16's shapes against numbers worked out by hand; no weights are needed."""

import pytest

from adaptkit import create_method
from adaptkit.layers.macs import AdapterShape, block_macs, image_shape, text_shape, tower_macs
from adaptkit.wrappers import DASConfig
from trainers.cli.method_facts import CLASSES, vit_b_16

VISION, TEXT = AdapterShape(skip=192, kept=64), AdapterShape(skip=128, kept=32)


@pytest.fixture(scope="module")
def backbone():
    return vit_b_16()


def millions(count):
    return round(count / 1e6, 1)


def test_a_vision_block_and_the_tower(backbone):
    shape = image_shape(backbone)
    assert (shape.tokens, shape.width, shape.depth) == (197, 768, 12)
    assert millions(block_macs(shape)) == 1454.0
    assert millions(12 * block_macs(shape)) == 17447.5
    assert millions(shape.around) == 116.0  # patches 115.6 M and projection 0.4 M
    assert round(tower_macs(shape) / 1e9, 2) == 17.56


def test_adapters(backbone):
    shape = image_shape(backbone)
    assert millions(2 * shape.tokens * shape.width * 192) == 58.1
    assert millions(2 * shape.tokens * shape.width * 64) == 19.4


@pytest.mark.parametrize(("k", "gmacs", "share"), [(2, 14.965, 14.8), (4, 12.135, 30.9)])
def test_an_image_with_blocks_skipped(backbone, k, gmacs, share):
    shape = image_shape(backbone)
    macs = tower_macs(shape, range(k), VISION)
    assert macs / 1e9 == pytest.approx(gmacs, abs=0.003)
    assert 100 * (1 - macs / tower_macs(shape)) == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize(("tokens", "expected"), [(77, 248.3), (20, 63.3)])
def test_a_text_block(backbone, tokens, expected):
    assert millions(block_macs(text_shape(backbone, tokens))) == expected


def test_one_row_of_the_last_block_costs_its_keys_and_values(backbone):
    shape = image_shape(backbone)
    n, d = shape.tokens, shape.width
    assert block_macs(shape, rows=1) == 2 * n * d * d + 2 * d * d + 2 * n * d + 8 * d * d


def das(backbone, select):
    options = DASConfig(skip_vision=2, skip_text=2, select=select)
    return create_method("zero_shot", backbone, CLASSES[:2], wrap=[("das", options)])


def learnt(method):
    return sum(parameter.numel() for parameter in method.learnt_parameters().values())


def test_trainable_parameters_during_the_search_and_after_it(backbone):
    assert learnt(das(backbone, "search")) == 6_781_824
    assert learnt(das(backbone, "last")) == 2_210_368

"""Blocks between the maps, the start of the maps, and what stands out behind a block."""

import pytest
import torch
from open_clip.transformer import LayerNorm, ResidualAttentionBlock

from adaptkit.wrappers.lm4visual.blocks import Activation, TextBlock, with_random_weights
from adaptkit.wrappers.lm4visual.filtering import dominant_frequencies, magnitudes, overlap_with_foreground
from adaptkit.wrappers.lm4visual.llama import LlamaBlocks, gated_width
from adaptkit.wrappers.lm4visual.start import principal_directions
from adaptkit.wrappers.lm4visual.step import LanguageStep, OneTokenStep


def text_block(width=64, batch_first=True, with_norm=True):
    block = ResidualAttentionBlock(width, width // 32, batch_first=batch_first)
    return TextBlock(block, LayerNorm(width) if with_norm else None, width).requires_grad_(False)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("width", [512, 640, 768, 1024])
def test_blocks_of_all_widths_and_layouts_are_open_clip_s_without_a_mask(width, batch_first):
    block, x = text_block(width, batch_first), torch.randn(2, 5, width)
    with torch.no_grad():
        own = block.block(x) if batch_first else block.block(x.transpose(0, 1)).transpose(0, 1)
        torch.testing.assert_close(block(x), block.norm(own))
        step = LanguageStep(48, block)
        assert step.added(torch.randn(2, 5, 48)).shape == (2, 5, 48)


def test_without_the_final_norm_it_is_the_block_alone():
    block, x = text_block(with_norm=False), torch.randn(2, 5, 64)
    torch.testing.assert_close(block(x), block.block(x))


@pytest.mark.parametrize(
    "between", [text_block(), LlamaBlocks(64, 4), Activation(64)], ids=lambda part: type(part).__name__
)
def test_permuted_patches_give_permuted_outputs(between):
    step, x, order = LanguageStep(32, between), torch.randn(2, 9, 32), torch.randperm(9)
    with torch.no_grad():
        torch.testing.assert_close(step.added(x[:, order]), step.added(x)[:, order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "between", [text_block(), LlamaBlocks(64, 4), Activation(64)], ids=lambda part: type(part).__name__
)
def test_only_maps_and_gate_learn(between):
    step = LanguageStep(32, between, "channel")
    learnt = sum(weight.numel() for weight in step.parameters() if weight.requires_grad)
    assert learnt == 2 * 32 * 64 + 32


def test_tokens_see_each_other_through_a_block_and_not_through_an_activation():
    x = torch.randn(1, 5, 32)
    changed = torch.cat([x[:, :4], x[:, 4:] + 1], dim=1)
    with torch.no_grad():
        through = LanguageStep(32, text_block())
        assert not torch.allclose(through.added(x)[:, :4], through.added(changed)[:, :4])
        alone = LanguageStep(32, Activation(64))
        assert torch.equal(alone.added(x)[:, :4], alone.added(changed)[:, :4])


def test_one_token_is_a_sequence_of_its_own():
    step, x = LanguageStep(32, text_block()), torch.randn(2, 3, 32)
    with torch.no_grad():
        step.gamma.fill_(1.0)
        alone = OneTokenStep(step)(x)
        torch.testing.assert_close(alone[1, 2], step(x[1:, 2:])[0, 0])
        assert alone.shape == x.shape


def test_random_weights_have_the_moments_of_the_block_and_are_seeded():
    block = text_block(128)
    first, again, other = (with_random_weights(block, seed) for seed in (0, 0, 1))
    weights = dict(block.named_parameters())
    for name, weight in first.named_parameters():
        assert not weight.requires_grad
        assert torch.equal(weight, again.get_parameter(name))
        if weight.std() > 0:
            assert not torch.equal(weight, weights[name])
            assert not torch.equal(weight, other.get_parameter(name))
            torch.testing.assert_close(weight.std(), weights[name].std(), rtol=0.2, atol=0)


def test_llama_s_own_width_of_the_mlp():
    assert gated_width(4096) == 11008
    assert gated_width(24, 8) == 64
    assert gated_width(16, 4) == 44


def test_a_gain_of_scores_counts_a_token_twice_in_llama_too():
    blocks, x = LlamaBlocks(64, 4, depth=2), torch.randn(1, 3, 64)
    twice = torch.cat([x, x[:, -1:]], dim=1)
    gain = torch.tensor([1.0, 1, 2]).log()[None, None, None]
    torch.testing.assert_close(blocks(x, gain), blocks(twice)[:, :3])


# The start


def test_principal_directions_are_those_of_largest_variance_in_order():
    scales = torch.tensor([1.0, 4.0, 0.1, 2.0])
    rows = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0)) * scales + 7
    found = principal_directions(rows, 3)
    torch.testing.assert_close(found, torch.eye(4)[:, [1, 3, 0]].double(), atol=0.05, rtol=0)


def test_directions_that_are_not_there_are_zero():
    found = principal_directions(torch.randn(50, 4), 6)
    assert found.shape == (4, 6)
    assert bool((found[:, 4:] == 0).all())
    torch.testing.assert_close(found[:, :4].T @ found[:, :4], torch.eye(4).double())


# What stands out


def test_magnitudes_are_lengths_behind_centring():
    rows = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [-2.0, 0.0]]])
    assert magnitudes(rows + 5).tolist() == [[0.0, 2.0, 2.0]]


def test_the_dominant_frequency_is_that_of_a_wave():
    places = torch.arange(32) / 32
    waves = torch.stack([torch.sin(2 * torch.pi * count * places) for count in (1, 5, 9)])
    assert dominant_frequencies(waves[None] + 3).tolist() == [[1, 5, 9]]


def test_overlap_is_of_the_most_active_quarter():
    activation = torch.tensor([[4.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    foreground = torch.tensor([[True, False, True, False, False, False, False, False]])
    assert overlap_with_foreground(activation, foreground).tolist() == pytest.approx([1 / 3])

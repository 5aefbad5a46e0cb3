"""Bottleneck adapters: where they stand, what they start as, which backbones carry them."""

import pytest
import torch
from torch import nn

from adaptkit import create_method
from adaptkit.towers.block import run_block
from tests.helpers.models import FAMILIES, WITH_VIT_BLOCKS, build


def randomise(method):
    with torch.no_grad():
        for parameter in method.learnt_parameters().values():
            parameter.normal_(std=0.1)
    return method.eval()


@pytest.mark.parametrize("form", ["parallel", "serial"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_starts_as_zero_shot_and_learns_in_every_family(family, form, classes):
    backbone = build(family)
    encoder = "both" if family in WITH_VIT_BLOCKS else "text"
    method = create_method("adapter", backbone, classes, form=form, encoder=encoder, bottleneck=4).eval()
    images = torch.randn(2, 3, *backbone.preprocess_cfg.image_size)
    zero_shot = create_method("zero_shot", backbone, classes)(images)
    torch.testing.assert_close(method(images), zero_shot, rtol=1e-4, atol=1e-3)
    assert not torch.allclose(randomise(method)(images), zero_shot, atol=1e-2)


def test_the_parallel_form_adds_to_the_mlp_what_it_makes_of_its_unnormalised_input(tiny_clip, classes):
    method = randomise(create_method("adapter", tiny_clip, classes, bottleneck=4, scale=0.5))
    block, view = tiny_clip.vision_tower.blocks[1], method.backbone.vision_tower.blocks[1]
    x = torch.randn(2, 5, 64)
    adapter = method.vision_adapters["1"]
    middle = x + block.attn(*[block.ln_1(x)] * 3, need_weights=False)[0]
    hidden = torch.relu(middle @ adapter.down.weight.T + adapter.down.bias)
    expected = middle + block.mlp(block.ln_2(middle)) + 0.5 * (hidden @ adapter.up.weight.T + adapter.up.bias)
    torch.testing.assert_close(run_block(view, x), expected, rtol=1e-4, atol=1e-4)


def test_the_serial_form_stands_behind_both_sublayers(tiny_clip, classes):
    options = {"form": "serial", "bottleneck": 4, "scale": 1.0, "activation": "gelu"}
    method = randomise(create_method("adapter", tiny_clip, classes, **options))
    block, view = tiny_clip.vision_tower.blocks[1], method.backbone.vision_tower.blocks[1]

    def with_adapter(update, adapter):
        hidden = nn.functional.gelu(update @ adapter.down.weight.T + adapter.down.bias)
        return update + hidden @ adapter.up.weight.T + adapter.up.bias

    x = torch.randn(2, 5, 64)
    first, second = method.vision_adapters["1"]
    middle = x + with_adapter(block.attn(*[block.ln_1(x)] * 3, need_weights=False)[0], first)
    expected = middle + with_adapter(block.mlp(block.ln_2(middle)), second)
    torch.testing.assert_close(run_block(view, x), expected, rtol=1e-4, atol=1e-4)


def test_masked_blocks_equal_the_token_tree(tiny_clip, classes):
    """The full-length path runs the replaced blocks with a mask, the tree without one."""
    from adaptkit.towers.prompt_encoder import FullEncoder
    from adaptkit.towers.token_tree import PromptTokens

    method = randomise(create_method("adapter", tiny_clip, classes))
    tower = method.backbone.text_tower
    tokens = tiny_clip.tokenize(["a photo of a cat", "a dog"])
    full = FullEncoder(tower, PromptTokens(tokens, torch.full_like(tokens, -1), tower.ends(tokens)))()[0]
    torch.testing.assert_close(full, method.backbone.encode_text(tokens), rtol=1e-4, atol=1e-4)


def test_the_backbone_stays_as_it_is(tiny_clip, classes, batch):
    before = {name: weight.clone() for name, weight in tiny_clip.state_dict().items()}
    logits = create_method("zero_shot", tiny_clip, classes)(batch[0])
    method = randomise(create_method("adapter", tiny_clip, classes))
    method.train().backward(*batch)
    assert all(torch.equal(weight, before[name]) for name, weight in tiny_clip.state_dict().items())
    assert torch.equal(create_method("zero_shot", tiny_clip, classes)(batch[0]), logits)
    assert all("adapters" in name for name in method.learnt_parameters())


def test_chosen_blocks_alone_have_adapters(tiny_clip, classes):
    method = create_method("adapter", tiny_clip, classes, encoder="vision", vision_blocks=(-1, 0))
    assert list(method.vision_adapters) == ["0", "2"]
    assert not method.text_adapters


def test_an_image_tower_without_blocks_is_refused(classes):
    with pytest.raises(ValueError, match=r"adapter with encoder=.both. needs an image tower"):
        create_method("adapter", build("modified_resnet"), classes)

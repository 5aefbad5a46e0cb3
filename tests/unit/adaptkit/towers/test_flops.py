"""What the fast paths save, counted: floating-point operations and kept activations at ViT-B/16 size."""

import open_clip
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adaptkit import ClassSet, FrozenCLIP
from adaptkit.layers.context import LearnedContext
from adaptkit.towers.linears import use_onednn
from adaptkit.towers.vision import encode_image

NAMES = tuple(open_clip.IMAGENET_CLASSNAMES)


@pytest.fixture(scope="module")
def vit_b_16() -> FrozenCLIP:
    model = open_clip.create_model("ViT-B-16-quickgelu", load_weights=False)
    return FrozenCLIP(model, open_clip.get_tokenizer("ViT-B-16"), "ViT-B-16")


def count(step) -> int:
    with use_onednn(False), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def plain_step_flops(backbone: FrozenCLIP) -> float:
    """Forward and backward of one prompt of 77 positions, as the released code runs every class."""
    model = backbone.model
    x = torch.randn(1, 77, backbone.text_width, requires_grad=True)

    def step():
        hidden = model.transformer(x, attn_mask=model.attn_mask)
        (model.ln_final(hidden)[:, 20] @ model.text_projection).sum().backward()

    return count(step)


def context_of(backbone: FrozenCLIP, n_classes: int) -> LearnedContext:
    names = NAMES[:: 1000 // n_classes]  # spread over the list: its first names, fish and birds, are longer than most
    return LearnedContext(backbone, ClassSet(names), torch.randn(16, backbone.text_width) * 0.02)


def test_coop_s_text_side_takes_18_times_fewer_flops_for_100_classes(vit_b_16):
    context = context_of(vit_b_16, 100)
    assert 100 * plain_step_flops(vit_b_16) / count(lambda: context().sum().backward()) >= 18


@pytest.mark.slow
def test_coop_s_text_side_takes_19_times_fewer_flops_for_1000_classes(vit_b_16):
    context = context_of(vit_b_16, 1000)
    assert 1000 * plain_step_flops(vit_b_16) / count(lambda: context().sum().backward()) >= 19


def kept_bytes(step) -> int:
    """Bytes that the forward pass of `step` keeps for its backward pass, each storage once, frozen weights left out."""
    storages: dict[int, int] = {}

    def pack(tensor):
        if not isinstance(tensor, torch.nn.Parameter) and not isinstance(tensor._base, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = step()
    del output
    return sum(storages.values())


@pytest.mark.slow
def test_a_step_on_1000_classes_keeps_less_than_2_gb(vit_b_16):
    context = context_of(vit_b_16, 1000)
    with use_onednn(False):
        assert kept_bytes(context) < 2e9


def test_the_image_tower_takes_7_percent_fewer_flops(vit_b_16):
    images = torch.randn(1, 3, 224, 224)
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not know that kernel
    try:
        with torch.no_grad():
            plain = count(lambda: vit_b_16.model.visual(images))
            fast = count(lambda: encode_image(vit_b_16.vision_tower, images))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert 1 - fast / plain >= 0.067


def test_prompts_of_every_vision_block_add_little_to_the_image_tower_s_flops(vit_b_16):
    images = torch.randn(1, 3, 224, 224)
    prompts = {layer: torch.randn(8, 768) for layer in range(12)}  # as rows of every block they would add 4 %
    with torch.no_grad():
        prompted = count(lambda: encode_image(vit_b_16.vision_tower, images, prompts))
        plain = count(lambda: encode_image(vit_b_16.vision_tower, images))
    assert plain < prompted < 1.015 * plain

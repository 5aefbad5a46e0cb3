"""LM4Visual against numbers recorded from its released code (ziqipang/LM4VisualEncoding e34e919)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adaptkit.wrappers.lm4visual.llama import LlamaBlocks, gated_width
from adaptkit.wrappers.lm4visual.step import LanguageStep, through_block
from tests.helpers.golden import Golden, variants

FOLDER = "lm4visual"
LAYER_NORM_EPS = 1e-6  # of the ViT's norm
pytestmark = pytest.mark.usefixtures("dtype")


def llama(golden: Golden) -> LlamaBlocks:
    tensors = {name[6:]: golden[name] for name in golden.tensors if name.startswith("llama.")}
    return LlamaBlocks.from_tensors(tensors, golden.settings["heads"])


def given(golden: Golden) -> dict[str, Tensor]:
    """What the recorded run starts from, to take gradients of."""
    start = "init/"
    found = {name[len(start) :]: golden[name] for name in golden.tensors if name.startswith(start)}
    return {name: tensor.requires_grad_() for name, tensor in (found | {"tokens": golden["tokens"]}).items()}


@pytest.mark.parametrize("variant", variants(FOLDER))
def test_blocks_are_those_of_the_recorded_model(variant):
    golden = Golden(FOLDER, variant)
    settings, blocks = golden.settings, llama(golden)
    assert len(blocks.layers) == settings["n_layers"] - settings["first_layer"]
    width = gated_width(settings["llm_dim"], settings["multiple_of"])
    assert {block.feed_forward.w1.out_features for block in blocks.layers} == {width}
    assert bool((blocks.norm.weight == 1).all()) is settings["final_norm_ones"]
    assert not any(weight.requires_grad for weight in blocks.parameters())


@pytest.mark.parametrize("variant", variants(FOLDER))
def test_the_paper_s_step_and_its_gradients_equal_the_released_code(variant):
    golden = Golden(FOLDER, variant)
    start, blocks = given(golden), llama(golden)
    w1, w2 = (start[f"llama_dim_mapper{number}.weight"].T for number in (1, 2))
    golden.check("mapped", start["tokens"] @ w1)
    golden.check("block", blocks(start["tokens"] @ w1))
    x3 = through_block(start["tokens"], w1, blocks, w2)
    features = F.layer_norm(x3, x3.shape[-1:], start["norm.weight"], start["norm.bias"], LAYER_NORM_EPS)
    golden.check("features", features)
    logits = F.linear(features[:, 0], start["head.weight"], start["head.bias"])
    golden.check("logits", logits)
    loss = F.cross_entropy(logits, golden["labels"], label_smoothing=0.1)
    golden.check("loss", loss)
    loss.backward()
    for name, tensor in start.items():
        golden.check(f"grad/{name}", tensor.grad)
    assert all(weight.grad is None for weight in blocks.parameters())


@pytest.mark.parametrize("variant", variants(FOLDER))
def test_the_gated_step_adds_what_the_released_code_computes(variant):
    golden = Golden(FOLDER, variant)
    blocks = llama(golden)
    step = LanguageStep(golden["tokens"].shape[-1], blocks)
    with torch.no_grad():
        step.w1.copy_(golden["init/llama_dim_mapper1.weight"].T)
        step.w2.copy_(golden["init/llama_dim_mapper2.weight"].T)
    x = golden["tokens"]
    assert torch.equal(step(x), x)
    with torch.no_grad():
        step.gamma.fill_(1.0)
    x3 = step(x) - x
    features = F.layer_norm(x3, x3.shape[-1:], golden["init/norm.weight"], golden["init/norm.bias"], LAYER_NORM_EPS)
    golden.check("features", features)


def test_every_recorded_tensor_is_compared():
    """The names that the tests above do not take as given are those that they check."""
    for variant in variants(FOLDER):
        golden = Golden(FOLDER, variant)
        compared = {"mapped", "block", "features", "logits", "loss"} | {f"grad/{name}" for name in given(golden)}
        is_given = {name for name in golden.tensors if name.startswith(("init/", "llama."))} | {"labels", "tokens"}
        assert compared | is_given == set(golden.tensors)


# Files that are not whole


def test_a_block_that_is_not_there_or_not_whole_is_refused():
    golden = Golden(FOLDER, "two_blocks")
    tensors = {name[6:]: golden[name] for name in golden.tensors if name.startswith("llama.")}
    assert len(LlamaBlocks.from_tensors(tensors, 2, first_layer=1).layers) == 1
    with pytest.raises(ValueError, match=r"first_layer=2; the tensors have the blocks \[0, 1\]"):
        LlamaBlocks.from_tensors(tensors, 2, first_layer=2)
    with pytest.raises(ValueError, match=r"heads=3 do not divide width=16"):
        LlamaBlocks.from_tensors(tensors, 3)
    del tensors["layers.1.ffn_norm.weight"]
    with pytest.raises(ValueError, match=r"block 1 has no ffn_norm.weight; give the tensors of whole blocks"):
        LlamaBlocks.from_tensors(tensors, 2)

"""The one module that knows an attention layer's insides, against the layers themselves."""

import pytest
import torch
from open_clip.transformer import Attention
from torch import nn

from adaptkit.towers import attention
from tests.helpers.models import OwnAttention

WIDTH, HEADS = 32, 4


def layer(kind):
    mha = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    nn.init.normal_(mha.in_proj_bias)
    nn.init.normal_(mha.out_proj.bias)
    if kind == "multihead":
        return mha
    if kind.startswith("own"):
        return OwnAttention(mha, with_norms=kind.endswith("norms"))
    options = {
        "custom": {},
        "custom, no bias": {"qkv_bias": False},
        "custom, all norms": {"qk_norm": True, "scale_heads": True, "inner_norm": True},
    }
    return Attention(WIDTH, HEADS, **options[kind])


@pytest.mark.parametrize(
    "kind", ["multihead", "own", "own with norms", "custom", "custom, no bias", "custom, all norms"]
)
@pytest.mark.parametrize("masked", [False, True])
def test_parts_in_a_row_equal_the_layer(kind, masked):
    attn, x = layer(kind).eval(), torch.randn(2, 5, WIDTH)
    visible = torch.ones(5, 5, dtype=torch.bool).tril()
    additive = torch.zeros(5, 5).masked_fill(~visible, float("-inf")) if masked else None
    if kind == "multihead":
        theirs = attn(x, x, x, need_weights=False, attn_mask=additive)[0]
    else:
        theirs = attn(x, attn_mask=additive)
    assert attention.is_supported(attn)
    q, k, v = (attention.split_heads(attn, part) for part in attention.project_qkv(attn, x).chunk(3, dim=-1))
    update = attention.attend(attn, q, k, v, visible if masked else None)
    torch.testing.assert_close(attention.project_out(attn, update), theirs)


@pytest.mark.parametrize("kind", ["multihead", "own", "custom, no bias"])
def test_partial_projections_are_parts_of_the_whole(kind):
    attn, x = layer(kind), torch.randn(2, 5, WIDTH)
    whole = attention.project_qkv(attn, x)
    torch.testing.assert_close(attention.project_q(attn, x), whole[..., :WIDTH])
    torch.testing.assert_close(attention.project_kv(attn, x), whole[..., WIDTH:])


@pytest.mark.parametrize(
    "attn",
    [
        Attention(WIDTH, HEADS, scaled_cosine=True),
        nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, kdim=8, vdim=8),
        nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, add_bias_kv=True),
        nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, add_zero_attn=True),
        nn.MultiheadAttention(WIDTH, HEADS),
    ],
    ids=["scaled cosine", "own key width", "bias key", "zero key", "sequence first"],
)
def test_layers_of_another_arithmetic_are_not_supported(attn):
    assert not attention.is_supported(attn)


def test_a_replacement_layer_brings_its_own_projection():
    class Doubled(nn.Module):
        num_heads = HEADS

        def project_qkv(self, x):
            return torch.cat([x, 2 * x, 3 * x], dim=-1)

    attn, x = Doubled(), torch.randn(2, 5, WIDTH)
    assert attention.is_supported(attn)
    torch.testing.assert_close(attention.project_kv(attn, x), torch.cat([2 * x, 3 * x], dim=-1))

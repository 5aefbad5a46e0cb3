"""Tiny random CLIP models of every family, built from open_clip's own classes, without files or network."""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from adaptkit import AdaptedCLIP, FrozenCLIP
from adaptkit.backbone.tokenizer import clip_words
from tests.helpers.tokenizers import EOS, tokenizer

VISION = {"image_size": 32, "patch_size": 8, "layers": 3, "width": 64, "head_width": 32}
TEXT = {"context_length": 40, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3}


def clip_vit() -> CLIP:
    return CLIP(32, VISION, TEXT, quick_gelu=True)


def modified_resnet() -> CLIP:
    return CLIP(32, {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}, TEXT, quick_gelu=True)


def small(model: CLIP | CustomTextCLIP) -> CLIP | CustomTextCLIP:
    """A model with timm's tower for images of 64 pixels; open_clip makes it for those of 160 that it is known for."""
    model.visual.trunk.set_input_size(img_size=64)
    return model


def timm_tower() -> CLIP:
    return small(CLIP(32, {"timm_model_name": "test_vit", "image_size": 64, "timm_pool": "token"}, TEXT))


def siglip_style() -> CustomTextCLIP:
    text = TEXT | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
    vision = {"timm_model_name": "test_vit", "image_size": 64, "timm_pool": "avg", "timm_proj": "linear"}
    return small(CustomTextCLIP(32, vision, text, init_logit_bias=-10.0))


def coca_style() -> CoCa:
    text = TEXT | {"embed_cls": True, "output_tokens": True}
    vision = VISION | {"attentional_pool": True, "attn_pooler_queries": 4, "output_tokens": True}
    multimodal = {"context_length": 40, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    model = CoCa(32, multimodal, text, vision)
    nn.init.normal_(model.text_decoder.text_projection)  # open_clip leaves in it what was in memory.
    return model


def padding_mask() -> CustomTextCLIP:
    model = CustomTextCLIP(32, VISION, TEXT | {"no_causal_mask": True, "pool_type": "first"})
    model.text.use_pad_mask = True
    return model


def clipa_style() -> CustomTextCLIP:
    text = TEXT | {"no_causal_mask": True, "pool_type": "last"}
    return CustomTextCLIP(32, VISION | {"pool_type": "avg", "final_ln_after_pool": True}, text)


def clips_style() -> CustomTextCLIP:
    return CustomTextCLIP(32, VISION, TEXT | {"no_causal_mask": True, "pool_type": "last"})


def worldwide_style() -> CustomTextCLIP:
    return CustomTextCLIP(32, VISION, TEXT | {"pool_type": "eos", "eos_id": EOS})


def layer_scale() -> CustomTextCLIP:
    text = TEXT | {"ls_init_value": 0.5, "proj_bias": True, "pool_type": "eos", "eos_id": 49407}
    return CustomTextCLIP(32, VISION | {"ls_init_value": 0.5}, text)


def custom_blocks() -> CLIP:
    options = {"qk_norm": True, "scale_heads": True, "scale_attn_inner": True, "scale_attn": True, "scale_fc": True}
    return CLIP(32, VISION | options, TEXT)


class OwnAttention(nn.Module):
    """The attention layer announced for open_clip's next major version, with its published attributes."""

    def __init__(self, source: nn.MultiheadAttention, with_norms: bool):
        super().__init__()
        self.num_heads = source.num_heads
        self.in_proj_weight, self.in_proj_bias, self.out_proj = (
            source.in_proj_weight,
            source.in_proj_bias,
            nn.Linear(source.embed_dim, source.embed_dim),
        )
        if with_norms:
            head_dim = source.embed_dim // source.num_heads
            self.ln_q, self.ln_k = nn.LayerNorm(head_dim), nn.LayerNorm(head_dim)
            self.head_scale = nn.Parameter(torch.rand(source.num_heads, 1, 1) + 0.5)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        )
        if hasattr(self, "ln_q"):
            q, k = self.ln_q(q), self.ln_k(k)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        x = (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1) @ v
        if hasattr(self, "head_scale"):
            x = x * self.head_scale
        return self.out_proj(x.transpose(1, 2).flatten(2))


class OwnBlock(nn.Module):
    """A pre-norm block around `OwnAttention`."""

    def __init__(self, source: ResidualAttentionBlock, with_norms: bool):
        super().__init__()
        self.ln_1, self.ln_2, self.mlp = source.ln_1, source.ln_2, source.mlp
        self.attn = OwnAttention(source.attn, with_norms)

    def get_weight_dtype(self) -> torch.dtype:
        return self.attn.in_proj_weight.dtype

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), attn_mask=attn_mask)
        return x + self.mlp(self.ln_2(x))


def own_attention(with_norms: bool = True) -> CLIP:
    model = clip_vit()
    for blocks in (model.transformer.resblocks, model.visual.transformer.resblocks):
        for index, block in enumerate(blocks):
            blocks[index] = OwnBlock(block, with_norms)
    return model


FAMILIES: dict[str, Callable[[], CLIP | CustomTextCLIP | CoCa]] = {
    "clip_vit": clip_vit,
    "modified_resnet": modified_resnet,
    "timm_tower": timm_tower,
    "siglip_style": siglip_style,
    "coca_style": coca_style,
    "clipa_style": clipa_style,
    "clips_style": clips_style,
    "worldwide_style": worldwide_style,
    "padding_mask": padding_mask,
    "layer_scale": layer_scale,
    "custom_blocks": custom_blocks,
    "own_attention": own_attention,
}
CAUSAL = (
    "clip_vit",
    "modified_resnet",
    "timm_tower",
    "worldwide_style",
    "layer_scale",
    "custom_blocks",
    "own_attention",
)
NOT_CAUSAL = ("siglip_style", "coca_style", "padding_mask", "clipa_style", "clips_style")
# Manners of the tokenizers; the other families have CLIP's own.
MANNERS = {"clipa_style": "clipa", "clips_style": "clips", "worldwide_style": "xlm", "siglip_style": "siglip2"}
WITH_VIT_BLOCKS = tuple(family for family in FAMILIES if family != "modified_resnet")


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Inside, tensors are of this precision where nothing else is said, learnt ones among them."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def build(family: str, dtype: torch.dtype = torch.float32) -> FrozenCLIP:
    """Build a seeded model of a family; its text weights exceed open_clip's initial ones, so that texts differ."""
    model = copy.deepcopy(_drawn(family, torch.get_default_dtype()))
    manner = MANNERS.get(family)
    words = tokenizer(manner) if manner else clip_words(TEXT["context_length"])
    return FrozenCLIP(model.to(dtype), words, family)


@functools.cache
def _drawn(family: str, default: torch.dtype) -> CLIP | CustomTextCLIP | CoCa:
    """A family's model, drawn once in torch's default precision; to be copied."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FAMILIES[family]()
        text = model if isinstance(model, CLIP) else model.text
        with torch.no_grad():
            text.token_embedding.weight.mul_(25)
            text.positional_embedding.mul_(25)
            if getattr(model, "logit_scale", None) is not None:
                model.logit_scale.fill_(4.6)
    return model


@torch.no_grad()
def consumed(method: AdaptedCLIP, images: Tensor) -> Tensor:
    """Turn images (B, 3, H, W) into the input that the method consumes."""
    return method.consume(images)

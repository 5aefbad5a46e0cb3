"""open_clip's models with a few narrow blocks: the architecture of a name at a thousandth of its size, without files.

Everything that tells one architecture from another stays: the kind of blocks, norms, scales and positions, the class
token and the pool, the activation, masks and special tokens. Depth, widths, image side and, for the text towers of
Hugging Face, the vocabulary shrink. All weights are drawn anew from a seed, so that nothing rests at zero or one.
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

import open_clip
import timm
import torch
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from timm.models.vitamin import VitCfg, VitConvCfg
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WIDTH, HEADS, LAYERS, SIDE, D = 64, 2, 3, 4, 32
WORDS = ["a", "photo", "of", "cat", "dog", "in", "the", "snow", "."]
VOCABULARY = 49408
VIT: dict[str, object] = {"embed_dim": WIDTH, "depth": LAYERS, "num_heads": HEADS}
VITAMIN = VitCfg(
    embed_dim=(8, 16, WIDTH),
    depths=(1, 1, 1),
    stem_width=8,
    conv_cfg=VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6),
    head_type="1d",
)
# By timm's module; the side of an image is that of 4 patches.
TRUNKS: dict[str, dict[str, object]] = {
    "vision_transformer": VIT,
    "vision_transformer_hybrid": {"depth": LAYERS},  # Its stem gives tokens of one width only.
    "vision_transformer_relpos": VIT,
    "eva": VIT,
    "vitamin": VIT | {"embed_cfg": VITAMIN},
    "convnext": {"depths": (1, 1, 1, 1), "dims": (8, 16, 32, WIDTH)},
    "fastvit": {"layers": (1,) * 4, "embed_dims": (8, 16, 32, WIDTH)},
    "swin_transformer": {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 2},
}
TEXT_CONFIGS: dict[str, dict[str, object]] = {
    "roberta": {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS},
    "m2m_100": {
        "d_model": WIDTH,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_ffn_dim": WIDTH,
        "decoder_ffn_dim": WIDTH,
    },
    "mt5": {"d_model": WIDTH, "d_kv": WIDTH // HEADS, "d_ff": WIDTH, "num_layers": 2, "num_heads": HEADS},
}
POSITIONS = {"roberta": 514, "m2m_100": 1024, "mt5": None}


def shrunk_model(name: str) -> tuple[CLIP | CustomTextCLIP | CoCa, Callable[..., Tensor]]:
    """An open_clip model with the architecture of a name, fewer and narrower blocks and seeded weights; a tokenizer."""
    config = open_clip.get_model_config(name)
    kind = CoCa if "multimodal_cfg" in config else CustomTextCLIP if _has_own_text(config) else CLIP
    config.pop("custom_text", None)
    vision, text = _small_vision(config["vision_cfg"]), _small_text(config["text_cfg"])
    if "multimodal_cfg" in config:
        config["multimodal_cfg"] |= {"width": WIDTH, "heads": HEADS, "layers": 1, "vocab_size": VOCABULARY}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        with _small_trunk(vision), _small_hugging_face(text):
            model = kind(**{**config, "embed_dim": _embed_dim(vision), "vision_cfg": vision, "text_cfg": text})
        redraw(model)
    return model.eval(), _tokenizer(text)


@torch.no_grad()
def redraw(model: nn.Module) -> None:
    """Draw weights so that each layer matters, from torch's generator: matrices anew, vectors around themselves."""
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.normal_(std=weight[0].numel() ** -0.5)
        elif weight.ndim == 1:
            weight.add_(0.2 * torch.randn_like(weight))


def _embed_dim(vision: dict) -> int:
    """The joint width, which is the image tower's own where nothing projects its features."""
    return WIDTH if vision.get("timm_proj") == "none" else D


def _has_own_text(config: dict) -> bool:
    return config.get("custom_text", False) or "hf_model_name" in config["text_cfg"]


def _small_vision(config: dict) -> dict:
    if "timm_model_name" in config:
        patch = re.search(r"patch(\d+)", config["timm_model_name"])
        side = SIDE * int(patch.group(1)) if patch and "swin" not in config["timm_model_name"] else 64
        return config | {"image_size": side, "timm_model_pretrained": False}
    if isinstance(config["layers"], list):
        return config | {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}
    small = {"image_size": SIDE * config["patch_size"], "width": WIDTH, "head_width": WIDTH // HEADS, "layers": LAYERS}
    return config | small | ({"attn_pooler_queries": 4} if config.get("attentional_pool") else {})


def _small_text(config: dict) -> dict:
    if "hf_model_name" in config:
        return config | {"hf_model_pretrained": False}
    small = {"width": WIDTH, "heads": HEADS, "layers": LAYERS, "vocab_size": VOCABULARY}
    return config | small | ({"eos_id": VOCABULARY - 1} if config.get("pool_type") == "eos" else {})


@contextmanager
def _small_trunk(vision: dict) -> Iterator[None]:
    """Inside, timm makes image towers with the small sizes of their kind."""
    create = timm.create_model

    def create_small(name: str, **options: object) -> nn.Module:
        module = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
        sized = {} if module in ("convnext", "fastvit") else {"img_size": vision["image_size"]}
        return create(name, **{**TRUNKS[module], **sized, **options})

    with mock.patch.object(timm, "create_model", create_small):
        yield


@contextmanager
def _small_hugging_face(text: dict) -> Iterator[None]:
    """Inside, transformers gives a small config for the name of a text tower, and asks no hub."""
    if "hf_model_name" not in text:
        yield
        return
    import transformers

    kind = _kind_of_text(text)
    config = transformers.AutoConfig.for_model(kind, vocab_size=100, **TEXT_CONFIGS[kind])
    if POSITIONS[kind]:
        config.max_position_embeddings = POSITIONS[kind]
    with mock.patch.object(transformers.AutoConfig, "from_pretrained", return_value=config):
        yield


def _kind_of_text(text: dict) -> str:
    kinds = {"roberta": "roberta", "nllb": "m2m_100", "mt5": "mt5"}
    return next(kind for mark, kind in kinds.items() if mark in text["hf_model_name"])


def _tokenizer(text: dict) -> Callable[..., Tensor]:
    """CLIP's own, or a few words for the text towers of Hugging Face."""
    length = text.get("context_length", 77)
    if "hf_model_name" not in text:
        return open_clip.SimpleTokenizer(context_length=length)
    kind = _kind_of_text(text)
    specials = ["<pad>", "</s>"] if kind == "mt5" else ["<s>", "<pad>", "</s>"]
    with tempfile.TemporaryDirectory() as folder:
        word_tokenizer(specials, [*specials, "<unk>", *WORDS]).save_pretrained(folder)
        return open_clip.tokenizer.HFTokenizer(folder, context_length=length)


def word_tokenizer(specials: list[str], vocabulary: list[str]) -> "PreTrainedTokenizerFast":
    """A tokenizer of Hugging Face with a few words; `specials` are [start,] padding and end."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {word: number for number, word in enumerate(vocabulary)}
    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    *start, _, end = specials
    inner.post_processor = processors.TemplateProcessing(
        single=" ".join([*start, "$A", end]), special_tokens=[(word, ids[word]) for word in (*start, end)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token=end, unk_token="<unk>"
    )

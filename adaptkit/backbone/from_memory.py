"""Backbones from models in memory: open_clip's, those that PEFT has tuned, and Hugging Face's."""

import copy
import tempfile
from collections.abc import Callable
from typing import cast

import open_clip
import torch
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

from adaptkit.backbone import huggingface
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.huggingface_protocols import HuggingFaceModel, is_hugging_face
from adaptkit.backbone.tokenizer import clip_words
from adaptkit.backbone.weights_source import check_weights

OPENAI_VOCABULARY = 49408  # Entries of the vocabulary that CLIP was released with.
MERGE_TOLERANCE = 1e-3  # Relative tolerance; a merged layer rounds differently from its parts.


def as_backbone(
    model: nn.Module, tokenizer: Callable[..., object] | None = None, *, name: str = "custom"
) -> FrozenCLIP:
    """A frozen backbone from a model that you have built, loaded or tuned elsewhere.

    Args:
        model: open_clip's `CLIP`, `CustomTextCLIP` (any timm image tower) or `CoCa`: used as it is, frozen and put in
            eval mode. Hugging Face's `CLIPModel`, `SiglipModel`, `Siglip2Model`, `AltCLIPModel` or `ChineseCLIPModel`:
            a converted copy. A PEFT model around any of these: a copy with its adapters merged. A `FrozenCLIP` comes
            back as it is.
        tokenizer: open_clip's, or Hugging Face's tokenizer or processor (which brings mean and deviation of the images
            as well). May be left out for models with CLIP's own vocabulary of 49,408 entries.
        name: name in records and artefacts, which tell weights apart by their hash.

    Raises:
        ValueError: if the model has no two towers that open_clip's modules can compute, needs a tokenizer, or is a
            PEFT model that cannot be merged into plain weights.

    Example:
        ```python
        model = open_clip.create_model("ViT-B-32", load_weights=False)  # yours, with your weights
        backbone = adaptkit.as_backbone(model, name="mine")
        text_features = backbone.encode_text(["a photo of a corgi."])  # (1, D)
        ```
    """
    if isinstance(model, FrozenCLIP):
        return model
    if type(model).__module__.startswith("peft."):
        return as_backbone(_merged(model), tokenizer, name=name)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if is_hugging_face(model):
        model = huggingface.convert(model, getattr(tokenizer, "image_processor", None))
    if not isinstance(model, CLIP | CustomTextCLIP | CoCa):
        raise ValueError(
            f"{type(model).__name__} is no CLIP model that adaptkit knows; expected open_clip's CLIP, CustomTextCLIP "
            "or CoCa, Hugging Face's CLIPModel, SiglipModel, Siglip2Model, AltCLIPModel or ChineseCLIPModel, or a PEFT "
            "model around one of them. An image tower "
            "alone, such as a timm model, has no texts to compare with: make it the image tower of a CustomTextCLIP"
        )
    check_weights(model, name)
    return FrozenCLIP(model, _open_clip_tokenizer(model, tokenizer), name).to(device)


def _open_clip_tokenizer(
    model: CLIP | CustomTextCLIP | CoCa, tokenizer: Callable[..., object] | None
) -> Callable[..., Tensor]:
    text = model if isinstance(model, CLIP) else model.text
    length, vocabulary = getattr(text, "context_length", None), getattr(text, "vocab_size", None)
    if tokenizer is None:
        if vocabulary != OPENAI_VOCABULARY:
            raise ValueError(
                f"the model's vocabulary has {vocabulary} entries, so its tokenizer is not CLIP's own; pass tokenizer="
            )
        return clip_words(length)
    inner = getattr(tokenizer, "tokenizer", tokenizer)  # A processor holds its tokenizer.
    if isinstance(tokenizer, open_clip.SimpleTokenizer | open_clip.tokenizer.HFTokenizer):
        return tokenizer
    if not hasattr(inner, "save_pretrained"):
        raise ValueError(
            f"{type(tokenizer).__name__} is no tokenizer that adaptkit knows; expected open_clip's SimpleTokenizer or "
            "HFTokenizer, or Hugging Face's tokenizer or processor"
        )
    with tempfile.TemporaryDirectory() as folder:  # open_clip's wrapper loads from a name or a folder.
        inner.save_pretrained(folder)
        wrapped = open_clip.tokenizer.HFTokenizer(folder, context_length=length, trust_remote_code=False)
    largest = int(wrapped(["a"]).max())
    if vocabulary is not None and largest >= vocabulary:
        raise ValueError(
            f"the tokenizer gives the id {largest} and the model's vocabulary has {vocabulary} entries; they do not "
            "belong together"
        )
    return wrapped


def _merged(model: nn.Module) -> nn.Module:
    """A copy of a PEFT model as plain weights.

    Raises:
        ValueError: if its adapters change more than weights, or the merged weights compute something else.
    """
    kind = type(model).__name__
    copied = copy.deepcopy(model).eval()
    try:
        merged = copied.merge_and_unload()  # type: ignore[operator]
    except (AttributeError, NotImplementedError, ValueError) as error:
        raise ValueError(
            f"{kind} cannot be merged into plain weights, which a backbone consists of: {error}"
        ) from error
    tuned = model.get_base_model()  # type: ignore[operator]
    was_training = tuned.training
    with torch.no_grad():
        before, after = _probe(tuned.eval()), _probe(merged)
    tuned.train(was_training)
    if (before - after).norm() > MERGE_TOLERANCE * before.norm():
        raise ValueError(
            f"the merged weights of this {kind} compute other features than the model does: it tunes a layer that the "
            "model never calls, such as out_proj inside nn.MultiheadAttention; leave it out of target_modules"
        )
    return merged


def _probe(model: nn.Module) -> Tensor:
    """Image and text features of a fixed input, in one row."""
    generator = torch.Generator().manual_seed(0)
    weight = next(parameter for parameter in model.parameters() if parameter.ndim > 1)
    side, length, vocabulary = _sizes(model)
    images = torch.randn(1, 3, *side, generator=generator).to(weight)
    tokens = torch.randint(vocabulary - 1, (1, length), generator=generator).to(weight.device)
    tokens[0, -1] = vocabulary - 1  # The feature is read at the largest id.
    if is_hugging_face(model):
        outputs = model(input_ids=tokens, pixel_values=images)
        return torch.cat([outputs.image_embeds[0], outputs.text_embeds[0]])
    encode_image, encode_text = cast(CLIP, model).encode_image, cast(CLIP, model).encode_text
    return torch.cat([encode_image(images)[0], encode_text(tokens)[0]])


def _sizes(model: nn.Module) -> tuple[tuple[int, int], int, int]:
    """Image size (height, width), number of text positions, and number of vocabulary entries."""
    if is_hugging_face(model):
        config = cast(HuggingFaceModel, model).config
        side = config.vision_config.image_size
        return (side, side), config.text_config.max_position_embeddings, config.text_config.vocab_size
    text = cast(CLIP, getattr(model, "text", model))
    size = cast(CLIP, model).visual.image_size  # ResNets give one side.
    return (size if isinstance(size, tuple) else (size, size)), text.context_length, text.vocab_size

"""The text tower of an open_clip model as a `TextTower`, or None for one of another kind; what both towers learn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields

from open_clip.coca_model import CoCa
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from adaptkit.towers.text import TextTower
from adaptkit.towers.vision import VisionTower
from adaptkit.towers.watch import Kept, Watch

UNLIMITED = 77  # open_clip's own limit for a text tower that has none, because its positions are relative (mT5)


def text_tower_of(model: CLIP | CustomTextCLIP | CoCa) -> TextTower | None:
    """The parts of the text tower, or None if it is not open_clip's own transformer."""
    if isinstance(model, CLIP):
        return TextTower(
            token_embedding=model.token_embedding,
            positional_embedding=model.positional_embedding,
            blocks=model.transformer.resblocks,
            ln_final=model.ln_final,
            projection=model.text_projection,
            attn_mask=model.attn_mask,
            pool=model.text_pool_type,
            eos_id=model.text_eos_id,
            class_embedding=None,
            pad_id=None,
            pads_from_the_front=False,
        )
    text = model.text
    if not isinstance(text, TextTransformer):
        return None
    hides_padding = text.use_pad_mask or text.cls_emb is not None
    return TextTower(
        token_embedding=text.token_embedding,
        positional_embedding=text.positional_embedding,
        blocks=text.transformer.resblocks,
        ln_final=text.ln_final,
        projection=text.text_projection,
        attn_mask=text.attn_mask,
        pool=text.pool_type,
        eos_id=text.eos_id,
        class_embedding=text.cls_emb,
        pad_id=text.pad_id if hides_padding else None,
        pads_from_the_front=not text.correct_cls_mask,
    )


def context_length_of(model: CLIP | CustomTextCLIP | CoCa) -> int:
    """Number of tokens that the text tower takes, of any kind."""
    text = getattr(model, "text", None)
    if not isinstance(text, HFTextEncoder):
        return text.context_length if isinstance(text, TextTransformer) else model.context_length
    for name, layer in text.transformer.named_modules():
        # RoBERTa counts positions from behind the padding id, so that its first entries belong to no token.
        if name.endswith("position_embeddings") and getattr(layer, "padding_idx", None) is not None:
            return layer.num_embeddings - layer.padding_idx - 1
    return text.context_length or UNLIMITED


def without_common_padding(model: CLIP | CustomTextCLIP | CoCa, tokens: Tensor) -> Tensor:
    """Token ids (N, L) up to the last that is no padding in a text, for a tower that hides padding from all others."""
    text = getattr(model, "text", None)
    if not isinstance(text, HFTextEncoder):
        return tokens
    real = (tokens != text.config.pad_token_id).any(dim=0)
    return tokens[:, : int(real.nonzero().max()) + 1] if real.any() else tokens[:, :1]


def watch_of_text(model: CLIP | CustomTextCLIP | CoCa) -> Watch:
    """A watch of the weights that a text's feature is made of."""
    if isinstance(model, CLIP):
        return Watch([model.token_embedding, model.transformer, model.ln_final], alone=[model])
    return Watch([model.text])


def keep_text(model: CLIP | CustomTextCLIP | CoCa, make: Callable[[], Tensor]) -> Kept:
    """A tensor made of the text tower's frozen weights, made again when they have changed."""
    return Kept(make, watch_of_text(model))


def learnt_parameters(tower: TextTower | VisionTower) -> list[nn.Parameter]:
    """Learnt parameters of a tower, each once, in the order of the tower's parts."""
    parts = [getattr(tower, field.name) for field in fields(tower) if field.name != "blocks"]
    modules = [part for part in (*parts, *tower.blocks) if isinstance(part, nn.Module)]
    weights = (weight for module in modules for weight in module.parameters() if weight.requires_grad)
    return list({id(weight): weight for weight in weights}.values())


@contextmanager
def without_dropout(tower: TextTower | VisionTower) -> Iterator[None]:
    """Inside the block the layers of a tower compute as in testing, and draw no random numbers."""
    blocks = [block for block in tower.blocks if isinstance(block, nn.Module)]
    training = [module for block in blocks for module in block.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True

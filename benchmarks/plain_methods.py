"""The steps of the released codes, equally plain: 77 positions of every prompt, and the image tower in every step.

The fast steps of `methods.py` are timed against these and must equal them. `learnt` holds the tensors that learn, by
the names that our methods use; B images, C classes, D joint width, D_t and D_v tower widths.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

Learnt = Mapping[str, Tensor]


@dataclass(frozen=True)
class Prompts:
    """The prompts "WORDS NAME." of all classes; learnt tokens replace some of the words."""

    tokens: Tensor  # (C, 77)
    embedded: Tensor  # (C, 77, D_t)


def make_prompts(model: CLIP, words: str, names: Sequence[str]) -> Prompts:
    tokens = open_clip.tokenize([f"{words} {name}." for name in names])
    return Prompts(tokens, model.token_embedding(tokens))


def deep_prompts(learnt: Learnt, name: str) -> list[Tensor]:
    """The tokens of one list of deep prompts, in the order of the blocks."""
    return [learnt[f"{name}.{index}"] for index in range(len(learnt)) if f"{name}.{index}" in learnt]


def encode_prompts(model: CLIP, prompts: Prompts, ctx: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
    """Encode prompts with ctx (n, D_t) and deep prompts of blocks 1, 2 ... to text features (C, D)."""
    n, x = len(ctx), prompts.embedded
    x = torch.cat([x[:, :1], ctx.expand(len(x), -1, -1), x[:, 1 + n :]], dim=1) + model.positional_embedding
    for layer, block in enumerate(model.transformer.resblocks):
        if 0 < layer <= len(deep):
            x = torch.cat([x[:, :1], deep[layer - 1].expand(len(x), -1, -1), x[:, 1 + n :]], dim=1)
        x = block(x, attn_mask=model.attn_mask)
    x = model.ln_final(x)
    return x[torch.arange(len(x)), prompts.tokens.argmax(dim=-1)] @ model.text_projection


def encode_images(model: CLIP, images: Tensor, prompts: Sequence[Tensor] = ()) -> Tensor:
    """Encode images (B, 3, H, W), with prompts (n, D_v) of blocks 0, 1 ... behind the patches, to features (B, D)."""
    visual = model.visual
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    n = len(prompts[0]) if prompts else 0
    if prompts:
        x = torch.cat([x, prompts[0].expand(len(x), -1, -1)], dim=1)
    x = visual.ln_pre(x)
    for layer, block in enumerate(visual.transformer.resblocks):
        if 0 < layer < len(prompts):
            x = torch.cat([x[:, :-n], prompts[layer].expand(len(x), -1, -1)], dim=1)
        x = block(x)
    return visual.ln_post(x)[:, 0] @ visual.proj


def cosines(model: CLIP, image_features: Tensor, text_features: Tensor) -> Tensor:
    """Scaled cosines of the features: logits (B, C)."""
    image_features, text_features = F.normalize(image_features, dim=-1), F.normalize(text_features, dim=-1)
    return model.logit_scale.exp() * image_features @ text_features.T


def gradients(loss: Tensor, learnt: Learnt, retain_graph: bool = False) -> dict[str, Tensor]:
    return dict(zip(learnt, torch.autograd.grad(loss, list(learnt.values()), retain_graph=retain_graph), strict=True))


def coop_logits(model: CLIP, prompts: Prompts, learnt: Learnt, images: Tensor) -> Tensor:
    image_features = encode_images(model, images)
    return cosines(model, image_features, encode_prompts(model, prompts, learnt["context.ctx"]))


def kgcoop_loss(
    model: CLIP, prompts: Prompts, clip_weights: Tensor, learnt: Learnt, images: Tensor, labels: Tensor
) -> Tensor:
    """KgCoOp's loss with lambda 8; clip_weights (C, D) are the templates' features, of unit length."""
    image_features = encode_images(model, images)
    text_features = encode_prompts(model, prompts, learnt["context.ctx"])
    gap = 1 - F.cosine_similarity(text_features, clip_weights).mean()
    return F.cross_entropy(cosines(model, image_features, text_features), labels) + 8 * gap


def cocoop_logits(model: CLIP, prompts: Prompts, learnt: Learnt, images: Tensor) -> Tensor:
    """CoCoOp's logits (B, C), computed for all prompts of one image after another."""
    image_features = F.normalize(encode_images(model, images), dim=-1)
    hidden = F.relu(F.linear(image_features, learnt["meta_net.linear1.weight"], learnt["meta_net.linear1.bias"]))
    shift = F.linear(hidden, learnt["meta_net.linear2.weight"], learnt["meta_net.linear2.bias"])  # (B, D_t)
    rows = []
    for one_image, one_shift in zip(image_features, shift, strict=True):
        text_features = encode_prompts(model, prompts, learnt["context.ctx"] + one_shift)
        rows.append(cosines(model, one_image[None], text_features))
    return torch.cat(rows)


def maple_logits(model: CLIP, prompts: Prompts, learnt: Learnt, images: Tensor) -> Tensor:
    deep = deep_prompts(learnt, "text_prompts")
    vision = [
        F.linear(prompt, learnt[f"couplings.{layer}.weight"], learnt[f"couplings.{layer}.bias"])
        for layer, prompt in enumerate([learnt["context.ctx"], *deep])
    ]
    text_features = encode_prompts(model, prompts, learnt["context.ctx"], deep)
    return cosines(model, encode_images(model, images, vision), text_features)


def prograd_gradients(
    model: CLIP, prompts: Prompts, clip_weights: Tensor, learnt: Learnt, images: Tensor, labels: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """ProGrad's loss and projected gradient; as released, a second image tower gives the zero-shot logits."""
    logits = coop_logits(model, prompts, learnt, images)
    with torch.no_grad():
        zero_shot = cosines(model, encode_images(model, images), clip_weights)
    cross_entropy = F.cross_entropy(logits, labels)
    divergence = -(zero_shot.softmax(dim=-1) * logits.log_softmax(dim=-1)).sum(dim=-1).mean()
    general = gradients(divergence, learnt, retain_graph=True)["context.ctx"]
    domain = gradients(cross_entropy, learnt)["context.ctx"]
    direction = general / general.norm()
    opposing = (domain * direction).sum()
    aligned = domain - opposing * direction if opposing < 0 else domain
    return cross_entropy, {"context.ctx": aligned}


def promptsrc_loss(
    model: CLIP, prompts: Prompts, frozen_text: Tensor, learnt: Learnt, images: Tensor, labels: Tensor
) -> Tensor:
    """PromptSRC's loss with weights 25, 10 and 1; frozen_text (C, D) are mean template features, of unit length."""
    text_features = encode_prompts(model, prompts, learnt["context.ctx"], deep_prompts(learnt, "text_prompts"))
    image_features = encode_images(model, images, deep_prompts(learnt, "vision_prompts"))
    with torch.no_grad():
        frozen_image = encode_images(model, images)
        frozen_logits = cosines(model, frozen_image, frozen_text)
    logits = cosines(model, image_features, text_features)
    divergence = F.kl_div(logits.log_softmax(-1), frozen_logits.log_softmax(-1), reduction="sum", log_target=True)
    return (
        F.cross_entropy(logits, labels)
        + 25 * F.l1_loss(F.normalize(text_features, dim=-1), frozen_text)
        + 10 * F.l1_loss(F.normalize(image_features, dim=-1), F.normalize(frozen_image, dim=-1))
        + divergence / logits.numel()
    )


def with_gradients(loss: Callable[[Learnt], Tensor], learnt: Learnt) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute a loss and its gradients."""
    value = loss(learnt)
    return value.detach(), gradients(value, learnt)

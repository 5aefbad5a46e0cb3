"""Random CLIP models for benchmarks, because the speed of a step does not depend on the weights."""

import open_clip
import torch
from open_clip.model import CLIP

from adaptkit import FrozenCLIP

VISION = {
    "ViT-B-16": {"image_size": 224, "patch_size": 16, "layers": 12, "width": 768},
    "tiny": {"image_size": 32, "patch_size": 8, "layers": 3, "width": 64, "head_width": 32},  # for trying out a script
}
TEXT = {
    "ViT-B-16": {"context_length": 77, "vocab_size": 49408, "layers": 12, "width": 512, "heads": 8},
    "tiny": {"context_length": 77, "vocab_size": 49408, "layers": 3, "width": 64, "heads": 2},
}
EMBED_DIM = {"ViT-B-16": 512, "tiny": 32}


def random_clip(size: str) -> CLIP:
    """Draw a frozen open_clip model in eval mode from torch's global generator.

    Its token embeddings are as large as trained ones: with open_clip's initial ones all texts would be nearly the same,
    and gradients would be mostly rounding errors.
    """
    model = CLIP(EMBED_DIM[size], VISION[size], TEXT[size], quick_gelu=True)
    with torch.no_grad():
        model.token_embedding.weight.mul_(25)
        model.positional_embedding.mul_(25)
    return model.requires_grad_(False).eval()


def as_backbone(model: CLIP, size: str) -> FrozenCLIP:
    """Wrap the model as a backbone, which replaces its linear layers."""
    return FrozenCLIP(model, open_clip.SimpleTokenizer(context_length=77), f"{size}, random weights")


def twins(size: str) -> tuple[CLIP, FrozenCLIP]:
    """Two models of equal weights: one with open_clip's own layers for a plain path, and a backbone."""
    model, twin = random_clip(size), random_clip(size)
    twin.load_state_dict(model.state_dict())
    return model, as_backbone(twin, size)


def classnames(count: int) -> tuple[str, ...]:
    """Real class names, spread over ImageNet's list, because its first names are longer than most."""
    return tuple(open_clip.IMAGENET_CLASSNAMES[:: 1000 // count][:count])

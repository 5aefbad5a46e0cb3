"""Prompts of the vision tower, and deep prompts of either tower: learnt tokens that enter before blocks.

In front of block 0, vision prompts are appended behind the patches, and text prompts stand among the words
(`context.LearnedContext`). Before each later block of the first `depth`, new tokens replace the outputs of the old
ones. Depth 1 is a shallow prompt. All start from N(0, 0.02^2).
"""

from torch import Tensor, nn

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.layers.context import random_context, random_tokens


def vision_prompts(backbone: FrozenCLIP, n_ctx: int, depth: int, asked_by: str) -> nn.ParameterList:
    """Learnt tokens (n_ctx, D_v) for the vision blocks 0 .. depth - 1, or for every block of a shallower tower.

    Args:
        asked_by: name of the method, for the error message.

    Raises:
        ValueError: if the image tower has no blocks that tokens can enter.
    """
    tower = backbone.require_vit_blocks(asked_by)
    layers = range(min(depth, tower.depth))
    return nn.ParameterList(random_tokens(backbone, n_ctx, tower.width) for _ in layers)


def deep_text_prompts(backbone: FrozenCLIP, n_ctx: int, depth: int) -> nn.ParameterList:
    """Learnt tokens (n_ctx, D_t) for the text blocks 1 .. depth - 1, or for every later block of a shallower tower.

    Raises:
        ValueError: if the text tower takes token ids only.
    """
    layers = range(1, min(depth, backbone.text_depth))
    return nn.ParameterList(random_context(backbone, n_ctx) for _ in layers)


def by_layer(prompts: nn.ParameterList, first: int) -> dict[int, Tensor]:
    """Prompts as the towers take them: layer -> learnt tokens, beginning with layer `first`."""
    return dict(enumerate(prompts, start=first))

"""A text tower of Hugging Face as open_clip holds such: token ids to features, no learnt prompts."""

import copy
from typing import Any

from open_clip.hf_model import ClsLastHiddenStatePooler, HFTextEncoder
from torch import nn


class HuggingFaceText(HFTextEncoder):
    """The text tower of a whole model, copied: token ids (N, L) -> the first row's projection (N, D).

    open_clip's class makes its tower from a name; this one is given. Padding is hidden from all other tokens.

    Args:
        model: Hugging Face's model, with `text_model` and `text_projection`.
        embed_dim: joint width D.
    """

    def __init__(self, model: Any, embed_dim: int):
        nn.Module.__init__(self)  # open_clip's own would ask the hub.
        self.config = model.config.text_config
        self.transformer = copy.deepcopy(model.text_model).float().eval()
        self.proj = copy.deepcopy(model.text_projection).float()
        self.pooler = ClsLastHiddenStatePooler()
        self.output_tokens, self.output_dim = False, embed_dim
        self.context_length, self.vocab_size = self.config.max_position_embeddings, self.config.vocab_size

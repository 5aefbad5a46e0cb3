"""FDT as published: one codebook, a query network for each modality, features for a contrastive loss.

Chen et al., "Revisiting Multimodal Representation in Contrastive Learning: From Patch and Token Embeddings to Finite
Discrete Tokens", arXiv:2303.14865, computed as the released code does (yuxiaochen1103/FDT ccf6983):
    z_j = pool_m(m-th query . C_j / sqrt(d)) / T,  a = sparsemax(z),  F = sum_j a_j C_j,  normalised
    loss = InfoNCE of exp(sigma) F_image F_text^T, symmetric; sigma in [3, 6], exp(sigma) at most 100
The patches are the rows of the last vision block, before its final norm and without the class token; the words are all
rows of the text tower after its final norm. The towers' own global features take no part.

Departure: like the released code, a padded row has score 0 and takes part in the pool; the paper does not say.
Departure: like the released code, T stays constant by default (w = 1); its comments and the paper let it fall.
Departure: the released code keeps a second logit scale that nothing reads; this has none.
"""

import math

import torch
from torch import Tensor, nn

from adaptkit.options import option, options
from adaptkit.wrappers.fdt.grounding import Attention, Pooling, activate, capped_exp, combine, pool, token_scores, unit
from adaptkit.wrappers.fdt.pooled_scores import pooled_scores
from adaptkit.wrappers.fdt.query import QueryNetwork

SCALE_START, SCALE_LEAST, SCALE_MOST = math.log(1 / 0.07), 3.0, 6.0  # First, least and largest sigma.


@options
class FDTModelConfig:
    """The defaults are the released configuration for CC3M."""

    n_codes: int = option(16384, "Codes N of the codebook.", least=2)
    dim: int = option(512, "Width d of a code.", least=1)
    attention: Attention = option("sparsemax", "What turns scores into weights of codes.")
    pooling: Pooling = option("max", "How the scores of patches or words become one score of a code.")
    temperature: float = option(1000.0, "The temperature T at the start.", above=0)
    decay: float = option(
        1.0, "The factor w of T every `decay_steps` steps; 1 keeps T, and the code's comments have 0.3.", above=0
    )
    decay_steps: int = option(2700, "Steps between two changes of T.", least=1)
    least_temperature: float = option(0.01, "T falls no lower than this.", least=0)

    def temperature_at(self, step: int) -> float:
        """T at an optimiser step, counted from 0; it changes every `decay_steps` steps."""
        fallen = self.temperature * self.decay ** (step // self.decay_steps)
        return max(fallen, self.least_temperature) if step >= self.decay_steps else self.temperature


class FDTModel(nn.Module):
    """The codebook and both query networks; everything learns.

    Args:
        image_width: width of patch features.
        text_width: width of word features.
    """

    def __init__(self, image_width: int, text_width: int, config: FDTModelConfig):
        super().__init__()
        self.config = config
        # (codes, d), keys and values of both modalities
        self.codebook = nn.Parameter(torch.randn(config.n_codes, config.dim))
        self.image_query = QueryNetwork(image_width, config.dim)
        self.text_query = QueryNetwork(text_width, config.dim)
        self.logit_scale = nn.Parameter(torch.tensor(SCALE_START))  # sigma

    def image_activations(self, patches: Tensor, temperature: float) -> Tensor:
        """Patch features (B, P, image_width) -> activations (B, N)."""
        z = pooled_scores(self.image_query(patches), self.codebook, self.config.pooling)
        return activate(z / temperature, self.config.attention)

    def text_activations(self, words: Tensor, real: Tensor | None, temperature: float) -> Tensor:
        """Word features (B, L, text_width) -> activations (B, N).

        Args:
            real: (B, L) bool, False for padding, whose scores become 0; None means that there is no padding.
        """
        scores = token_scores(self.text_query(words), self.codebook)
        if real is not None:
            scores = scores * real[..., None]
        return activate(pool(scores / temperature, self.config.pooling), self.config.attention)

    def encode_image(self, patches: Tensor, temperature: float) -> Tensor:
        """Patch features (B, P, image_width) -> F (B, d), not normalised."""
        return combine(self.image_activations(patches, temperature), self.codebook, self.config.attention)

    def encode_text(self, words: Tensor, real: Tensor | None, temperature: float) -> Tensor:
        """Word features (B, L, text_width) -> F (B, d), not normalised; see `text_activations`."""
        return combine(self.text_activations(words, real, temperature), self.codebook, self.config.attention)

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Scaled cosines (B, C) of image features F (B, d) and text features F (C, d)."""
        return capped_exp(self.logit_scale) * unit(image_features) @ unit(text_features).T

    @torch.no_grad()
    def clamp_scale_(self) -> None:
        """Clamp sigma to [3, 6] in place, as is done before and after every step."""
        self.logit_scale.clamp_(SCALE_LEAST, SCALE_MOST)

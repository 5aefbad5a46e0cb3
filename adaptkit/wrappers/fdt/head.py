"""GroundingHead: FDT on the frozen features of a CLIP, as a head beside its classifier.

After Chen et al., arXiv:2303.14865, with these queries instead of networks trained from scratch:
    q = sqrt(d) norm(x W) + U GELU(V LN(x))
W is CLIP's own projection of a patch or a word x; U starts at zero, so queries start in CLIP's joint space, as does the
codebook. d is the width of that space, N the number of codes. With queries="scratch" the published networks compute
queries from x alone, in a space of their own.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.layers.full_precision import at_least_fp32, run_as
from adaptkit.options import option, options
from adaptkit.wrappers.fdt.calibration import calibrate, effective_support, support_size
from adaptkit.wrappers.fdt.codebook import random_codebook, warm_codebook
from adaptkit.wrappers.fdt.grounding import Attention, Pooling, activate, capped_exp, combine, unit
from adaptkit.wrappers.fdt.pooled_scores import pooled_scores
from adaptkit.wrappers.fdt.query import QueryNetwork, ResidualQuery

LEAST_TEXT_SUPPORT = 5.0  # With fewer codes, texts get their own temperature.
SCALE_START = math.log(1 / 0.07)
# Width of queries and codes from scratch: a quarter of the published one, for a few images.
SCRATCH_WIDTH = 128


@options
class FDTConfig:
    n_codes: int = option(512, "Codes N of the codebook.", least=2)
    weight: float = option(
        1.0, "Lambda of the grounded logits in the sum; 0 leaves the wrapped method as it is.", least=0
    )
    own_loss: float = option(0.5, "Weight of the cross-entropy of the grounded logits alone.", least=0)
    queries: Literal["clip", "scratch"] = option(
        "clip", "CLIP's projections, changed a little, or the published networks from scratch."
    )
    rank: int = option(64, "Rank of the learnt change of CLIP's queries; 0 leaves them CLIP's.", least=0)
    attention: Attention = option("sparsemax", "What turns scores into weights of codes.")
    pooling: Pooling = option("max", "How the scores of patches or words become one score of a code.")
    support: float = option(
        0.1, "Share of the codes that an image activates at the start, on average.", above=0, below=1
    )
    codebook: Literal["shared", "separate"] = option(
        "shared", "One codebook for images and texts, or one each that start equal."
    )
    start: Literal["warm", "random"] = option(
        "warm", "Codes start from class texts and k-means of patches, or from N(0, 1)."
    )
    logits: Literal["sum", "grounded"] = option(
        "sum", "The wrapped method's logits and the grounded ones, or the grounded alone."
    )
    coupling: Literal["joint", "separate"] = option(
        "joint",
        "The sum's cross-entropy trains the wrapped method too, or that learns by its own loss as if it were alone.",
    )

    def __post_init__(self) -> None:
        if self.queries == "scratch" and self.start == "warm":
            raise ValueError(
                'queries="scratch" and start="warm"; what CLIP\'s space holds says nothing of codes for queries from '
                'scratch, set start="random"'
            )


class GroundingHead(nn.Module):
    """Patches of images and words of texts -> activations of codes -> logits.

    Args:
        image_width: width D_v of patch rows.
        text_width: width D_t of word rows.
        like: a tensor of the joint space (..., d), for its width, device and dtype.
    """

    temperature: Tensor
    support: Tensor

    def __init__(self, image_width: int, text_width: int, like: Tensor, config: FDTConfig):
        super().__init__()
        self.config = config
        if config.queries == "scratch":
            like = like.new_zeros(SCRATCH_WIDTH)
        d = like.shape[-1]
        self.codebook = nn.Parameter(random_codebook(config.n_codes, like))
        self.text_codebook = nn.Parameter(self.codebook.detach().clone()) if config.codebook == "separate" else None
        self.image_query, self.text_query = (_query(width, d, config, like) for width in (image_width, text_width))
        self.logit_scale = nn.Parameter(torch.tensor(SCALE_START).to(like))
        self.register_buffer("temperature", torch.ones(2).to(like))  # T of images, T of texts
        # Mean number of codes that an image and a text activated when T was calibrated; 0 before.
        self.register_buffer("support", torch.zeros(2).to(like))

    @property
    def codes_of_texts(self) -> Tensor:
        """Codebook of texts (N, d), the same as that of images unless the codebooks are separate."""
        return self.codebook if self.text_codebook is None else self.text_codebook

    def decayed(self) -> set[str]:
        """Names of the learnt matrices with weight decay: those of the queries."""
        learnt = self.named_parameters()
        return {name for name, parameter in learnt if "_query." in name and parameter.ndim == 2}

    def image_queries(self, patches: Tensor, projected: Tensor) -> Tensor:
        """Queries (B, P, d) from patch rows (B, P, D_v) and their projections (B, P, d)."""
        return self._queries(patches, projected, self.image_query)

    def text_queries(self, words: Tensor, projected: Tensor) -> Tensor:
        """Queries (C, L, d) from word rows (C, L, D_t) and their projections (C, L, d)."""
        return self._queries(words, projected, self.text_query)

    @staticmethod
    def _queries(rows: Tensor, projected: Tensor, learnt: QueryNetwork | ResidualQuery | None) -> Tensor:
        if isinstance(learnt, QueryNetwork):
            return run_as(learnt, rows)
        queries = projected.shape[-1] ** 0.5 * F.normalize(projected, dim=-1)
        return queries if learnt is None else queries + run_as(learnt, rows)

    def image_scores(self, patches: Tensor, projected: Tensor) -> Tensor:
        """Pooled scores (B, N), not divided by T; see `image_queries`."""
        return pooled_scores(self.image_queries(patches, projected), at_least_fp32(self.codebook), self.config.pooling)

    def text_scores(self, words: Tensor, projected: Tensor, real: Tensor) -> Tensor:
        """Pooled scores (C, N), not divided by T; see `text_queries`. Words outside `real` (C, L) take no part."""
        return pooled_scores(
            self.text_queries(words, projected), at_least_fp32(self.codes_of_texts), self.config.pooling, real
        )

    def image_activations(self, patches: Tensor, projected: Tensor) -> Tensor:
        """Activations (B, N) of images; see `image_queries`."""
        return activate(self.image_scores(patches, projected) / self.temperature[0], self.config.attention)

    def text_activations(self, words: Tensor, projected: Tensor, real: Tensor) -> Tensor:
        """Activations (C, N) of texts; see `text_scores`."""
        return activate(self.text_scores(words, projected, real) / self.temperature[1], self.config.attention)

    def image_features(self, activations: Tensor) -> Tensor:
        """Activations (B, N) -> F (B, d), unit rows."""
        return unit(combine(activations, at_least_fp32(self.codebook), self.config.attention))

    def text_features(self, activations: Tensor) -> Tensor:
        """Activations (C, N) -> F (C, d), unit rows."""
        return unit(combine(activations, at_least_fp32(self.codes_of_texts), self.config.attention))

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Scaled cosines (B, C) of unit rows (B, d) and (C, d)."""
        return capped_exp(self.logit_scale) * image_features @ text_features.T

    @torch.no_grad()
    def start_codebook(self, class_features: Tensor, patches: Tensor) -> None:
        """Start the codes from class features (C, d) and projected patches (n, d), unless the start is random."""
        if self.config.start == "warm":
            self.codebook.copy_(warm_codebook(class_features, patches, self.config.n_codes))
        if self.text_codebook is not None:
            self.text_codebook.copy_(self.codebook)

    @torch.no_grad()
    def calibrate(self, image_z: Tensor, text_z: Tensor) -> None:
        """Fix T by pooled scores of images (B, N) and of texts (C, N), and keep their mean support at that T.

        Texts share the images' T, unless it leaves them fewer than 5 codes on average.
        """
        target = max(1.0, self.config.support * self.config.n_codes)
        T = calibrate(image_z, self.config.attention, target)
        self.temperature.fill_(T)
        if self._spread(text_z / T) < LEAST_TEXT_SUPPORT:
            self.temperature[1] = calibrate(text_z, self.config.attention, target)
        self.support[0] = self._spread(image_z / self.temperature[0])
        self.support[1] = self._spread(text_z / self.temperature[1])

    def _spread(self, z: Tensor) -> Tensor:
        activations = activate(z, self.config.attention)
        spread = support_size if self.config.attention == "sparsemax" else effective_support
        return spread(activations).mean()


def _query(width: int, d: int, config: FDTConfig, like: Tensor) -> QueryNetwork | ResidualQuery | None:
    """Learnt part of the queries of patches or words (..., width); None for CLIP's own projections."""
    if config.queries == "scratch":
        return QueryNetwork(width, d).to(like)
    return ResidualQuery(width, config.rank, d).to(like) if config.rank else None

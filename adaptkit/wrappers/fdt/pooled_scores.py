"""Pooled scores of queries on codes, without keeping the scores of every token.

    z_j = max_m q_m . C_j / sqrt(d)
Only the best token of a code gets a gradient, and behind a sparsemax only codes on its support pass one on: a tenth of
them, each for one token. So the backward pass sums (images * codes on the support) rows of width d instead of two
products over all tokens and codes. The mean and the sum over tokens are linear: queries are pooled instead of scores.

Letters: B images or texts, M their tokens, N codes, d the width of codes.
"""

import torch
from torch import Tensor

from adaptkit.wrappers.fdt.grounding import Pooling


def pooled_scores(queries: Tensor, codebook: Tensor, pooling: Pooling, mask: Tensor | None = None) -> Tensor:
    """Pooled scores z (B, N) of queries (B, M, d) on codes (N, d): `pool` of `token_scores`, exactly.

    Args:
        mask: (B, M) bool, True for a real token; the others take no part at all. None means that all are real.
    """
    queries = queries / codebook.shape[-1] ** 0.5
    if pooling == "max":
        return _MaxScores.apply(queries, codebook, mask)
    if mask is not None:
        queries = queries.masked_fill(~mask[..., None], 0.0)
    total = queries.sum(dim=1)
    if pooling == "mean":
        total = total / (queries.shape[1] if mask is None else mask.sum(dim=1, keepdim=True))
    return total @ codebook.T


class _MaxScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, queries: Tensor, codebook: Tensor, mask: Tensor | None
    ) -> Tensor:
        scores = queries @ codebook.T  # (B, M, N)
        if mask is not None:
            scores = scores.masked_fill_(~mask[..., None], -torch.inf)
        z, best = scores.max(dim=1)
        ctx.save_for_backward(queries, codebook, best)
        return z

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        queries, codebook, best = ctx.saved_tensors  # type: ignore[attr-defined]
        image, code = gradient.nonzero(as_tuple=True)
        token, weight = best[image, code], gradient[image, code][:, None]
        to_queries = to_codes = None
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            to_queries = torch.zeros_like(queries)
            row = image * queries.shape[1] + token
            to_queries.view(-1, queries.shape[-1]).index_add_(0, row, weight * codebook[code])
        if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
            to_codes = torch.zeros_like(codebook).index_add_(0, code, weight * queries[image, token])
        return to_queries, to_codes, None

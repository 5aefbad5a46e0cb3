"""The parts of M3EL's matcher of a mention with an entity, each an image and a text as tokens.

Hu et al., "Multi-level Matching Network for Multimodal Entity Linking", arXiv:2412.10440, and its released code
(zhiweihu1103/MEL-M3EL 9b99c42). Names of parameters are those of the released code. h is the common width, sig the
logistic function, LN a layer norm:
    intra-modal     Q of the entity's tokens, K and V of the mention's; context = LN(mean over queries softmax(Q K^T /
                    sqrt(h)) V); ((<W_cls cls_entity, context>) + <cls_mention, cls_entity>) / 2
    match(p, q)     relu(W softmax(p (W q)^T) q + b), where W q stands for W q + b too
    pool(x)         mean over temperatures T of [mean(x) + lambda sum x softmax(T x)] in each channel; for an endless
                    T the sum is max(x)
    one direction   c of the class token, x of the other kind's tokens; a = match(c, x), b = pool(match(x, c));
                    s = sig(L a + L b); context = LN(c tanh(gate c) + s a + (1 - s) b)
    two directions  context = LN(c tanh(gate c) + pool([match(c, x); match(x, c)]))

Departure: the released code attends to padding, counts it in means and pools it; here masks (N, L), true for tokens
    that are there, leave it out. Without masks it is as released.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

RELEASED_TEMPERATURES = {5: (2.0, 2.5, 3.5, 4.5, math.inf), 3: (2.0, 4.0, math.inf)}  # by the number of heads


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of tokens (..., L, h) that are there, by a mask (..., L): (..., h)."""
    if mask is None:
        return x.mean(dim=-2)
    kept = mask[..., None].to(x.dtype)
    return (x * kept).sum(dim=-2) / kept.sum(dim=-2).clamp(min=1)


def masked_softmax(scores: Tensor, mask: Tensor | None, dim: int = -1) -> Tensor:
    """Softmax over what is there; the mask is as wide as the scores, or spreads over them."""
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)  # finite: a record may have no token at all
    return scores.softmax(dim=dim)


def residual_pool(x: Tensor, temperatures: Sequence[float], weight: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Tokens (N, L, h) -> (N, h): their mean plus, by `weight`, what stands out in each channel.

    Args:
        temperatures: of the softmax over tokens that weighs what stands out; math.inf takes the largest.
        mask: (N, L) bool, tokens that are there.
    """
    mean = masked_mean(x, mask)
    per_channel = None if mask is None else mask[..., None].expand_as(x)
    heads = []
    for temperature in temperatures:
        if math.isinf(temperature):
            there = x if per_channel is None else x.masked_fill(~per_channel, torch.finfo(x.dtype).min)
            stands_out = there.amax(dim=1)
        else:
            stands_out = (x * masked_softmax(temperature * x, per_channel, dim=1)).sum(dim=1)
        heads.append(mean + weight * stands_out)
    return torch.stack(heads).mean(dim=0)


class IntraModal(nn.Module):
    """Scores of mentions and entities by tokens of one kind.

    Args:
        cls_width: of class tokens; token_width: of the others; width: h.
    """

    def __init__(self, cls_width: int, token_width: int, width: int):
        super().__init__()
        self.fc_query = nn.Linear(token_width, width)
        self.fc_key = nn.Linear(token_width, width)
        self.fc_value = nn.Linear(token_width, width)
        self.fc_cls = nn.Linear(cls_width, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(
        self,
        entity_cls: Tensor,
        entity_tokens: Tensor,
        mention_cls: Tensor,
        mention_tokens: Tensor,
        entity_mask: Tensor | None = None,
        mention_mask: Tensor | None = None,
    ) -> Tensor:
        """Class tokens (E, d), tokens (E, L, d), and (M, d), (M, K, d) of mentions -> scores (M, E)."""
        queries = self.fc_query(entity_tokens)  # (E, L, h)
        keys, values = self.fc_key(mention_tokens), self.fc_value(mention_tokens)  # (M, K, h)
        scores = torch.einsum("elh,mkh->melk", queries, keys) / queries.shape[-1] ** 0.5
        attention = masked_softmax(scores, None if mention_mask is None else mention_mask[:, None, None, :])
        # The mean over queries is taken of the attention already: the same, of far fewer numbers.
        mask = None if entity_mask is None else entity_mask[None].expand(attention.shape[:-1])
        attended = torch.einsum("mek,mkh->meh", masked_mean(attention, mask), values)
        context = self.layer_norm(attended)  # (M, E, h)
        from_tokens = torch.einsum("eh,meh->me", self.fc_cls(entity_cls), context)
        return (from_tokens + mention_cls @ entity_cls.T) / 2


class Match(nn.Module):
    """match(p, q) of tokens (N, L, h) with tokens (N, K, h): (N, L, h)."""

    def __init__(self, width: int):
        super().__init__()
        self.trans_linear = nn.Linear(width, width)

    def forward(self, p: Tensor, q: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` (N, K) marks the tokens of q that are there."""
        scores = p @ self.trans_linear(q).transpose(1, 2)  # (N, L, K)
        attention = masked_softmax(scores, None if mask is None else mask[:, None, :])
        return self.trans_linear(attention @ q).relu()


class Fusion(nn.Module):
    """s a + (1 - s) b with s = sig(L a + L b), for a and b (N, h)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        share = (self.linear(b) + self.linear(a)).sigmoid()
        return a * share + b * (1 - share)


class _CrossModal(nn.Module):
    """What both cross-modal modules hold: maps to h, the match, the gate and a norm."""

    def __init__(self, text_width: int, image_width: int, width: int, temperatures: Sequence[float], weight: float):
        super().__init__()
        self.temperatures, self.weight = tuple(temperatures), weight
        self.text_fc = nn.Linear(text_width, width)
        self.image_fc = nn.Linear(image_width, width)
        self.match_module = Match(width)
        self.gate_fc = nn.Linear(width, 1)
        self.gate_layer_norm = nn.LayerNorm(width)

    def pooled(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return residual_pool(x, self.temperatures, self.weight, mask)

    def gated(self, cls: Tensor, found: Tensor) -> Tensor:
        return self.gate_layer_norm(cls * self.gate_fc(cls).tanh() + found)


class CrossModal(_CrossModal):
    """One direction: contexts of text class tokens among image tokens."""

    def __init__(self, text_width: int, image_width: int, width: int, temperatures: Sequence[float], weight: float):
        super().__init__(text_width, image_width, width, temperatures, weight)
        self.fusion_module = Fusion(width)

    def text_among_image(self, text_cls: Tensor, image_tokens: Tensor) -> Tensor:
        """Class tokens (N, d) of texts and tokens (N, P, d) of images -> contexts (N, h)."""
        cls, tokens = self.text_fc(text_cls), self.image_fc(image_tokens)
        found = self.match_module(cls[:, None], tokens)[:, 0]
        back = self.pooled(self.match_module(tokens, cls[:, None]), None)
        return self.gated(cls, self.fusion_module(found, back))


class TwoWayCrossModal(_CrossModal):
    """Both directions: text class tokens among image tokens, and image class tokens among text tokens."""

    def text_among_image(self, text_cls: Tensor, image_tokens: Tensor) -> Tensor:
        """Class tokens (N, d) of texts and tokens (N, P, d) of images -> contexts (N, h)."""
        return self._context(self.text_fc(text_cls), self.image_fc(image_tokens), None)

    def image_among_text(self, image_cls: Tensor, text_tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Class tokens (N, d) of images and tokens (N, L, d) of texts -> contexts (N, h)."""
        return self._context(self.image_fc(image_cls), self.text_fc(text_tokens), mask)

    def _context(self, cls: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        found = self.match_module(cls[:, None], tokens, mask)  # (N, 1, h)
        back = self.match_module(tokens, cls[:, None])  # (N, L, h)
        both = None if mask is None else torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        return self.gated(cls, self.pooled(torch.cat([found, back], dim=1), both))

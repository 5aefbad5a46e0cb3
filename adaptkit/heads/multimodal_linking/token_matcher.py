"""TokenMatcher: M3EL's scores of mentions and entities by the tokens of their images and texts.

Hu et al., arXiv:2412.10440, with the modules of `matching`; after a layer norm on each of the four inputs:
    S = mean of the intra-modal scores of texts and of images and the cross-modal score <context, context>
        of one direction, or of the scores of two directions
    loss = CE(S) + CE of each score + contrastive, the rows being mentions, the entity of row i standing at i
    contrastive, on raw unit class tokens E and M (N, d): CE([inter E M^T / T, intra E E^T / T], diagonal of the first
        half), the same with E and M exchanged, the mean of both; the mean of texts and of images

Departure: the diagonal of E E^T is left out of the softmax; as released it takes part with a logit of 0.
Departure: scores that a record cannot have, because its image or its text is missing, are left out of the mean.
Departure: by default pooling is mean and maximum; five temperatures are an option.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptkit.heads.multimodal_linking.matching import CrossModal, IntraModal, TwoWayCrossModal

Diagonal = Literal["left_out", "zero"]
SIMPLE = (math.inf,)  # mean and maximum


@dataclass(frozen=True)
class RecordTokens:
    """N records as tokens of both kinds; rows of what a record lacks are any finite numbers."""

    text_cls: Tensor  # (N, d_t)
    text_tokens: Tensor  # (N, L, d_t)
    image_cls: Tensor  # (N, d_v)
    image_tokens: Tensor  # (N, P, d_v)
    text_mask: Tensor | None = None  # (N, L) bool, tokens that are no padding; None where all are there
    has_text: Tensor | None = None  # (N,) bool; None where all have one
    has_image: Tensor | None = None  # (N,) bool

    def __len__(self) -> int:
        return len(self.text_cls)

    def at(self, places: Tensor) -> "RecordTokens":
        """The records at some places, in their order."""
        return RecordTokens(*(None if each is None else each[places] for each in self._all()))  # type: ignore[arg-type]

    @classmethod
    def joined(cls, parts: "Sequence[RecordTokens]") -> "RecordTokens":
        """Records one after the other, shorter texts padded; marks have to be there in all parts or in none.

        Raises:
            ValueError: if texts have different lengths and no masks, so that padding could not be told from tokens.
        """
        longest = max(part.text_tokens.shape[1] for part in parts)
        padded = []
        for part in parts:
            more = longest - part.text_tokens.shape[1]
            if more and part.text_mask is None:
                raise ValueError(
                    f"texts of {longest - more} and of {longest} tokens have no masks; give masks to join them"
                )
            mask = None if part.text_mask is None else F.pad(part.text_mask, (0, more))
            padded.append(replace(part, text_tokens=F.pad(part.text_tokens, (0, 0, 0, more)), text_mask=mask))
        columns = zip(*(part._all() for part in padded), strict=True)
        return cls(*(None if own[0] is None else torch.cat(own) for own in columns))  # type: ignore[arg-type]

    def _all(self) -> tuple[Tensor | None, ...]:
        return (
            self.text_cls,
            self.text_tokens,
            self.image_cls,
            self.image_tokens,
            self.text_mask,
            self.has_text,
            self.has_image,
        )


@dataclass(frozen=True)
class Scores:
    """Scores [mention, entity] (M, E): each kind's, and their mean."""

    # By the released names: "text", "image", and "image_text", of text class tokens among image tokens. With two
    # directions these are called "text_image", and "image_text" is of image class tokens among text tokens.
    each: dict[str, Tensor]
    mean: Tensor


class TokenMatcher(nn.Module):
    """Scores of mentions and entities.

    Args:
        text_width: d_t of text tokens; image_width: d_v of image tokens.
        width: h of the matcher; None for d_v.
        two_way: a second cross-modal direction, image class tokens among text tokens, as for WikiDiverse.
        temperatures: of the pooling; `RELEASED_TEMPERATURES` has the released ones.
        weight: lambda of what stands out in the pooling.

    Example:
        ```python
        import torch

        from adaptkit.heads.multimodal_linking import RecordTokens, TokenMatcher

        matcher = TokenMatcher(text_width=8, image_width=6)
        records = RecordTokens(torch.randn(2, 8), torch.randn(2, 5, 8), torch.randn(2, 6), torch.randn(2, 4, 6))
        assert matcher(records, records).mean.shape == (2, 2)
        ```
    """

    def __init__(
        self,
        text_width: int,
        image_width: int,
        width: int | None = None,
        *,
        two_way: bool = False,
        temperatures: Sequence[float] = SIMPLE,
        weight: float = 1.0,
    ):
        super().__init__()
        width = image_width if width is None else width
        self.text_cls_layernorm = nn.LayerNorm(text_width)
        self.text_tokens_layernorm = nn.LayerNorm(text_width)
        self.image_cls_layernorm = nn.LayerNorm(image_width)
        self.image_tokens_layernorm = nn.LayerNorm(image_width)
        self.timm = IntraModal(text_width, text_width, width)  # the released name: text intra-modal matching
        self.iimm = IntraModal(image_width, image_width, width)
        cross = (text_width, image_width, width, temperatures, weight)
        self.cmm = None if two_way else CrossModal(*cross)
        self.cmmb = TwoWayCrossModal(*cross) if two_way else None

    def forward(self, mentions: RecordTokens, entities: RecordTokens) -> Scores:
        """M mentions and E entities -> their scores (M, E)."""
        m, e = self._normed(mentions), self._normed(entities)
        text = (e.text_cls, e.text_tokens, m.text_cls, m.text_tokens, e.text_mask, m.text_mask)
        each = {
            "text": self.timm(*text),
            "image": self.iimm(e.image_cls, e.image_tokens, m.image_cls, m.image_tokens),
        }
        if self.cmmb is None:
            assert self.cmm is not None
            contexts = [self.cmm.text_among_image(one.text_cls, one.image_tokens) for one in (m, e)]
            each["image_text"] = contexts[0] @ contexts[1].T
        else:
            contexts = [self.cmmb.text_among_image(one.text_cls, one.image_tokens) for one in (m, e)]
            back = [self.cmmb.image_among_text(one.image_cls, one.text_tokens, one.text_mask) for one in (m, e)]
            each["text_image"] = contexts[0] @ contexts[1].T
            each["image_text"] = back[0] @ back[1].T
        return Scores(each, _mean(each, mentions, entities))

    def _normed(self, records: RecordTokens) -> RecordTokens:
        return RecordTokens(
            self.text_cls_layernorm(records.text_cls),
            self.text_tokens_layernorm(records.text_tokens),
            self.image_cls_layernorm(records.image_cls),
            self.image_tokens_layernorm(records.image_tokens),
            records.text_mask,
        )


def _mean(each: dict[str, Tensor], mentions: RecordTokens, entities: RecordTokens) -> Tensor:
    """The mean of the scores that both records of a pair can have; 0 where they have nothing in common."""
    marks = (mentions.has_text, mentions.has_image, entities.has_text, entities.has_image)
    stacked = torch.stack(list(each.values()))
    if all(mark is None for mark in marks):
        return stacked.mean(dim=0)
    some = stacked[0]
    m_text, m_image = (_marks(mark, some[:, :1])[:, None] for mark in marks[:2])  # (M, 1)
    e_text, e_image = (_marks(mark, some[:1].T)[None, :] for mark in marks[2:])  # (1, E)
    both = {"text": m_text & e_text, "image": m_image & e_image}
    across = m_text & m_image & e_text & e_image
    there = torch.stack([both.get(name, across) for name in each])  # (S, M, E)
    return torch.where(there, stacked, torch.zeros_like(stacked)).sum(dim=0) / there.sum(dim=0).clamp(min=1)


def _marks(mark: Tensor | None, like: Tensor) -> Tensor:
    return torch.ones(len(like), dtype=torch.bool, device=like.device) if mark is None else mark


def matching_loss(
    scores: Scores,
    mentions: RecordTokens,
    entities: RecordTokens,
    *,
    temperature: float = 0.03,
    inter: float = 1.0,
    intra: float = 0.8,
    diagonal: Diagonal = "left_out",
) -> Tensor:
    """The loss of N mentions of which each belongs to the entity at its place: a scalar.

    Args:
        scores: of these mentions and entities.
        temperature, inter, intra, diagonal: see `intra_modal_contrastive_loss`, on raw class tokens.

    Raises:
        ValueError: if there are not as many mentions as entities.
    """
    if len(mentions) != len(entities):
        raise ValueError(f"{len(mentions)} mentions and {len(entities)} entities; give the entity of each mention")
    return matching_cross_entropy(scores) + contrastive_of_records(
        mentions, entities, temperature=temperature, inter=inter, intra=intra, diagonal=diagonal
    )


def matching_cross_entropy(scores: Scores) -> Tensor:
    """CE(S) + CE of each score, of N mentions of which each belongs to the entity at its place: a scalar."""
    own = torch.arange(len(scores.mean), device=scores.mean.device)
    return torch.stack([F.cross_entropy(one, own) for one in (scores.mean, *scores.each.values())]).sum()


def contrastive_of_records(
    mentions: RecordTokens,
    entities: RecordTokens,
    *,
    temperature: float = 0.03,
    inter: float = 1.0,
    intra: float = 0.8,
    diagonal: Diagonal = "left_out",
) -> Tensor:
    """The mean of `intra_modal_contrastive_loss` of the texts' and of the images' class tokens."""
    texts = intra_modal_contrastive_loss(mentions.text_cls, entities.text_cls, temperature, inter, intra, diagonal)
    images = intra_modal_contrastive_loss(mentions.image_cls, entities.image_cls, temperature, inter, intra, diagonal)
    return (texts + images) / 2


def intra_modal_contrastive_loss(
    mentions: Tensor,
    entities: Tensor,
    temperature: float = 0.03,
    inter: float = 1.0,
    intra: float = 0.8,
    diagonal: Diagonal = "left_out",
) -> Tensor:
    """M3EL's contrast of mentions and entities (N, d), not normalised, with each other and among themselves: a scalar.

    Args:
        inter: factor on logits between the two; intra: on those among each.
        diagonal: of a row with itself: "left_out" of the softmax, or "zero", a logit of 0, as released.
    """
    m, e = F.normalize(mentions, dim=-1), F.normalize(entities, dim=-1)
    own = torch.arange(len(m), device=m.device)
    itself = torch.eye(len(m), dtype=torch.bool, device=m.device)
    losses = []
    for asked, other in ((e, m), (m, e)):
        among = (intra * asked @ asked.T / temperature).masked_fill(itself, -torch.inf if diagonal == "left_out" else 0)
        losses.append(F.cross_entropy(torch.cat([inter * asked @ other.T / temperature, among], dim=1), own))
    return (losses[0] + losses[1]) / 2

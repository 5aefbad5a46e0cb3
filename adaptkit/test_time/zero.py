"""ZERO: a vote among the views on which the method inside is most sure.

Farina et al., "Frustratingly Easy Test-Time Adaptation of Vision-Language Models", arXiv:2405.18330:
    kept    = the int(0.3 V) views of least entropy of softmax(logits)
    votes_c = how many kept views have their largest logit at c
    answer  = argmax_c votes_c
which is the mean of the kept views' probabilities at a temperature that goes to zero. Nothing is learnt, view 0 has no
special role, and any method that has logits may be inside. Where classes tie, the other views are walked by rising
entropy, and the first that is for one of them decides; below four views none is kept, so that the surest decides.

Departure: votes are counted. The released code sums softmax(logits / eps), which is a count in float32 and not in half
precision, where eps is 1e-3.
Departure: entropies are those of a log-softmax. In the released code a probability that underflows makes the entropy
not a number, and the surest views come last.
Departure: where no other view is for a tied class, the surest of them decides by its largest logit among the tied
classes. The released code, for `tie="code"`, means that rule and inverts indices in the place of a mask.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.test_views import TestViews
from adaptkit.contract.test_time import Episodic, Seen, register_test_time
from adaptkit.contract.wrapper import MakeInner
from adaptkit.layers.full_precision import at_least_fp32
from adaptkit.options import option, options
from adaptkit.test_time.entropy import entropies

Tie = Literal["max_logit", "code"]
MAJORITY, LATER_VIEW, LAST_RULE = range(3)  # what decided: more votes than any other class, or how a tie was broken


@dataclass(frozen=True)
class Ballot:
    """A vote of V views for each of B images, among C classes."""

    order: Tensor  # (B, V) int64: the views by rising entropy; those that vote come first
    votes: Tensor  # (B, C) int64: of the kept views
    decided_by: Tensor  # (B,) int64: MAJORITY, LATER_VIEW or LAST_RULE
    winner: Tensor  # (B,) int64


@options
class ZeroConfig:
    n_views: int = option(64, "Views of each image, the first of them without augmentation.", least=1)
    augmix: bool = option(False, "Whether crops go through AugMix.")
    share: float = option(0.3, "Share of the views that vote, those of least entropy.", above=0, most=1)
    tie: Tie = option(
        "max_logit",
        "What decides between classes for which no other view is: the largest logit among them of the surest view that "
        "has not voted, or as in the released code, which masks the mirrored classes.",
    )
    view_seed: int = option(0, "Seed of the random crops.", least=0)


@register_test_time("zero", ZeroConfig)
class Zero(Episodic):
    """The class for which most of the sure views are, under any method."""

    is_usual = False  # many views of every image

    def __init__(self, backbone: FrozenCLIP, make_inner: MakeInner, config: ZeroConfig):
        super().__init__(backbone, make_inner(backbone))
        self.config = config
        self.test_views = TestViews(config.n_views, config.augmix, config.view_seed)

    def logits_of_views(self, seen: Seen) -> Tensor:
        """Logits (B, V, C) of the views of B images -> `log_shares` (B, C) of their votes."""
        return log_shares(seen.logits, vote(seen.logits, self.config.share, self.config.tie), self.config.share)


def vote(logits: Tensor, share: float = 0.3, tie: Tie = "max_logit") -> Ballot:
    """Let the int(share V) views of least entropy vote, and break ties.

    Args:
        logits: (B, V, C) of V views of B images; with CLIP, 100 times the cosines.
        share: of the views, above 0 and up to 1. At 1 no view is left to break a tie, and all are walked again.
        tie: the last rule; see `ZeroConfig`.

    Raises:
        ValueError: if the logits are not of such a shape, or there is no such rule.

    Example:
        ```python
        from adaptkit.test_time.zero import vote

        views, texts = torch.randn(2, 64, 512), torch.randn(5, 512)
        views, texts = (torch.nn.functional.normalize(rows, dim=-1) for rows in (views, texts))
        print(vote(100 * views @ texts.T).winner)
        ```
    """
    if logits.ndim != 3 or 0 in logits.shape[1:]:
        raise ValueError(f"logits have the shape {tuple(logits.shape)}; expected (images, views, classes)")
    if tie not in ("max_logit", "code"):
        raise ValueError(f"tie={tie!r}; expected max_logit or code")
    n_kept = int(share * logits.shape[1])
    order = entropies(at_least_fp32(logits)).argsort(dim=1, stable=True)  # (B, V)
    named = logits.argmax(dim=-1).gather(1, order)  # (B, V): the class that each view is for, the surest view first
    votes = _count(named[:, :n_kept], logits.shape[2])
    tied = votes == votes.amax(dim=1, keepdim=True)  # (B, C)

    first = n_kept if n_kept < logits.shape[1] else 0
    helps = tied.gather(1, named[:, first:])  # (B, V - n_kept): whether the view is for a tied class
    of_later_view = named[:, first:].gather(1, helps.int().argmax(dim=1, keepdim=True))[:, 0]
    surest = order[:, first, None, None].expand(-1, 1, logits.shape[2])
    last_rule = _mirrored if tie == "code" else _largest_logit
    broken = torch.where(helps.any(dim=1), of_later_view, last_rule(logits.gather(1, surest)[:, 0], votes, tied))

    is_tie = tied.sum(dim=1) > 1
    return Ballot(
        order,
        votes,
        decided_by=torch.where(is_tie, torch.where(helps.any(dim=1), LATER_VIEW, LAST_RULE), MAJORITY),
        winner=torch.where(is_tie, broken, votes.argmax(dim=1)),
    )


def log_shares(logits: Tensor, ballot: Ballot, share: float = 0.3) -> Tensor:
    """The outcome of a vote as logits (B, C), float32 or more: logarithms of shares of the votes, which sum to one.

    The winner of a tie has one vote more than any other class. Half a vote is spread over all classes by the mean
    probability of the views that voted, or of the surest view where none did. So the winner comes first, classes of as
    many votes are ranked by what those views think of them, and no share is zero.

    Args:
        logits: (B, V, C), as they were voted on.
        ballot: what `vote` made of them with the same share.
    """
    n_heard = max(1, int(share * logits.shape[1]))
    heard = ballot.order[:, :n_heard, None].expand(-1, -1, logits.shape[2])
    log_p = at_least_fp32(logits.gather(1, heard)).log_softmax(dim=-1).logsumexp(dim=1) - math.log(n_heard)  # (B, C)
    most = ballot.votes.amax(dim=1, keepdim=True)
    is_tie = ballot.decided_by[:, None] != MAJORITY
    counts = ballot.votes.scatter(1, ballot.winner[:, None], torch.where(is_tie, most + 1, most)).to(log_p)
    return torch.logaddexp(counts.log(), log_p + math.log(0.5)) - (counts.sum(dim=1, keepdim=True) + 0.5).log()


def _count(named: Tensor, n_classes: int) -> Tensor:
    """Classes (B, K) that views are for -> votes (B, C)."""
    votes = named.new_zeros(len(named), n_classes)
    return votes.scatter_add(1, named, torch.ones_like(named))


def _largest_logit(logits: Tensor, votes: Tensor, tied: Tensor) -> Tensor:
    """Logits (B, C) of one view -> its best class among the tied ones (B,)."""
    return logits.masked_fill(~tied, -math.inf).argmax(dim=1)


def _mirrored(logits: Tensor, votes: Tensor, tied: Tensor) -> Tensor:
    """The released rule: of every tied class t, the class C - 1 - t is masked, and what is best then gets one vote.

    That class need not be tied. With fewer votes than the tied ones it draws level with them or stays behind, and the
    least index among the classes of most votes is the answer.
    """
    chosen = logits.masked_fill(tied.flip(1), -math.inf).argmax(dim=1)
    return votes.scatter_add(1, chosen[:, None], torch.ones_like(chosen)[:, None]).argmax(dim=1)

"""ZERO: how views vote, how ties are broken, and what becomes of a vote as logits."""

import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from adaptkit import ClassSet, Support, TestViews, create_method
from adaptkit.backbone.test_views import views_of
from adaptkit.classes.templates import IMAGENET_SELECTED
from adaptkit.contract.test_time import Seen
from adaptkit.test_time.entropy import entropies
from adaptkit.test_time.zero import LAST_RULE, LATER_VIEW, MAJORITY, log_shares, vote
from tests.conftest import CLASSES

FEW_VIEWS = [(1, 3), (2, 4), (3, 5), (4, 3), (7, 12), (8, 6), (10, 20)]  # V, C


def cosines(n_images, n_views, n_classes, scale=10.0):
    return scale * torch.randn(n_images, n_views, n_classes, generator=torch.Generator().manual_seed(n_views))


def views(*rows):
    """One image whose views have these probabilities times a constant: logits (1, V, C)."""
    return torch.tensor([rows]).log()


def voted_by_hand(logits, share, tie):
    """The specification in plain Python, for one image: logits (V, C) -> rule and class."""
    n_views, n_classes = logits.shape
    order = sorted(range(n_views), key=lambda view: float(entropies(logits[view])))
    n_kept = int(share * n_views)
    named = [int(logits[view].argmax()) for view in order]
    votes = [named[:n_kept].count(c) for c in range(n_classes)]
    tied = [c for c in range(n_classes) if votes[c] == max(votes)]
    if len(tied) == 1:
        return MAJORITY, tied[0]
    first = n_kept if n_kept < n_views else 0
    for c in named[first:]:
        if c in tied:
            return LATER_VIEW, c
    of_first = logits[order[first]].tolist()
    if tie == "max_logit":
        return LAST_RULE, max(tied, key=lambda c: of_first[c])
    allowed = [c for c in range(n_classes) if n_classes - 1 - c not in tied]
    votes[max(allowed, key=lambda c: of_first[c])] += 1
    return LAST_RULE, votes.index(max(votes))


@pytest.mark.parametrize("tie", ["max_logit", "code"])
@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
@pytest.mark.parametrize(("n_views", "n_classes"), FEW_VIEWS)
def test_all_images_together_vote_as_each_by_hand(n_views, n_classes, share, tie):
    logits = cosines(200, n_views, n_classes)
    ballot = vote(logits, share, tie)
    by_hand = [voted_by_hand(image, share, tie) for image in logits]
    assert list(zip(ballot.decided_by.tolist(), ballot.winner.tolist(), strict=True)) == by_hand


def test_the_cases_by_hand_meet_every_rule():
    decided = torch.cat([vote(cosines(200, *shape), 0.3).decided_by for shape in FEW_VIEWS])
    assert set(decided.tolist()) == {MAJORITY, LATER_VIEW, LAST_RULE}


def test_a_vote_is_the_softmax_at_a_vanishing_temperature():
    logits = cosines(20, 64, 9)
    ballot = vote(logits, 0.3)
    kept = logits.gather(1, ballot.order[:, :19, None].expand(-1, -1, 9))
    cold = (kept / torch.finfo(torch.float32).eps).softmax(dim=-1).sum(dim=1)
    torch.testing.assert_close(cold, ballot.votes.float())


# The two surest views are for classes 0 and 1, the other six for none of them.
TIED = views([0.97, 0.01, 0.01, 0.01], [0.02, 0.94, 0.02, 0.02], *([[0.10, 0.15, 0.45, 0.30]] * 6))


def test_without_a_helpful_view_the_surest_of_the_others_decides_among_the_tied():
    ballot = vote(TIED)
    assert ballot.votes.tolist() == [[1, 1, 0, 0]]
    assert (ballot.decided_by.item(), ballot.winner.item()) == (LAST_RULE, 1)


def test_the_released_rule_masks_the_mirrored_classes():
    ballot = vote(TIED, tie="code")  # classes 3 and 2 are masked, and 1 is better than 0
    assert (ballot.decided_by.item(), ballot.winner.item()) == (LAST_RULE, 1)


def test_the_released_rule_may_choose_a_class_that_is_not_tied():
    # Votes for 1 and 2 of five classes: 3 and 2 are masked, and 0 is best of the others, with its first vote.
    tied = views([0.01, 0.96, 0.01, 0.01, 0.01], [0.02, 0.02, 0.92, 0.02, 0.02], *([[0.5, 0.1, 0.2, 0.1, 0.1]] * 6))
    assert vote(tied, tie="code").winner.item() == 0
    assert vote(tied).winner.item() == 2


def test_under_the_released_rule_the_least_index_has_the_answer_among_equal_votes():
    # Votes for 0 and 1 of five classes: 4 and 3 are masked, and 2 draws level with both.
    tied = views([0.96, 0.01, 0.01, 0.01, 0.01], [0.02, 0.92, 0.02, 0.02, 0.02], *([[0.1, 0.2, 0.5, 0.1, 0.1]] * 6))
    assert vote(tied, tie="code").winner.item() == 0
    assert vote(tied).winner.item() == 1


def test_a_view_that_underflows_is_the_surest_and_not_the_last():
    logits = torch.zeros(1, 10, 3)
    logits[0, 4, 2] = 300.0  # exp(-300) is 0 in float32
    for dtype in (torch.float32, torch.float16):
        ballot = vote(logits.to(dtype))
        assert ballot.order[0, 0] == 4
        assert ballot.votes[0, 2] == 1
        assert log_shares(logits.to(dtype), ballot).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_votes_are_counted_in_half_precision_too(dtype):
    logits = cosines(50, 64, 6).to(dtype)
    ballot = vote(logits)
    assert torch.equal(ballot.votes.sum(dim=1), torch.full((50,), 19))
    shares = log_shares(logits, ballot)
    assert shares.dtype == torch.float32
    assert torch.equal(shares.argmax(dim=1), ballot.winner)


def test_the_order_of_the_views_changes_nothing():
    logits = cosines(40, 64, 6).double()
    mixed = logits[:, torch.randperm(64)]
    torch.testing.assert_close(log_shares(logits, vote(logits)), log_shares(mixed, vote(mixed)))


@pytest.mark.parametrize("n_views", [1, 2, 3, 5, 64])
def test_equal_views_rank_all_classes_as_zero_shot_does(n_views):
    one = cosines(30, 1, 6)
    logits = one.expand(-1, n_views, -1)
    shares = log_shares(logits, vote(logits))
    assert torch.equal(shares.argsort(dim=1), one[:, 0].argsort(dim=1))


@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_below_four_views_none_votes_and_the_surest_decides(n_views):
    logits = cosines(50, n_views, 6)
    ballot = vote(logits)
    assert not ballot.votes.any()
    surest = entropies(logits).argmin(dim=1)
    assert torch.equal(ballot.winner, logits[torch.arange(50), surest].argmax(dim=1))
    assert set(ballot.decided_by.tolist()) == {LATER_VIEW}


@pytest.mark.parametrize("tie", ["max_logit", "code"])
@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize(("n_views", "n_classes"), [*FEW_VIEWS, (64, 6)])
def test_the_winner_comes_first_and_the_shares_sum_to_one(n_views, n_classes, share, tie):
    logits = cosines(200, n_views, n_classes)
    ballot = vote(logits, share, tie)
    shares = log_shares(logits, ballot, share)
    best, second = shares.topk(2, dim=1).values.T
    assert (best > second).all()
    assert torch.equal(shares.argmax(dim=1), ballot.winner)
    torch.testing.assert_close(shares.exp().sum(dim=1), torch.ones(200))
    torch.testing.assert_close(shares.softmax(dim=1), shares.exp())


def test_shares_are_votes_with_half_a_vote_spread_by_the_mean_probability():
    logits = views(*[[0.8, 0.1, 0.1]] * 3, *[[0.2, 0.7, 0.1]] * 1, *[[0.34, 0.33, 0.33]] * 9)
    ballot = vote(logits, 0.31)  # four views
    assert ballot.votes.tolist() == [[3, 1, 0]]
    mean = torch.tensor([0.65, 0.25, 0.1])
    expected = (torch.tensor([3.0, 1.0, 0.0]) + 0.5 * mean) / 4.5
    torch.testing.assert_close(log_shares(logits, ballot, 0.31)[0].exp(), expected)


def test_losses_and_confidences_are_finite_however_sure_the_views_are():
    logits = 1000 * F.one_hot(torch.zeros(4, 64, dtype=torch.long), 5).float()
    shares = log_shares(logits, vote(logits))
    assert math.isfinite(F.cross_entropy(shares, torch.tensor([0, 1, 2, 3])))


def test_images_do_not_change_the_answers_to_each_other(tiny_clip):
    method = create_method("zero", tiny_clip, CLASSES).eval()
    logits = cosines(20, 64, 5)
    features = torch.randn(20, 64, tiny_clip.embed_dim)
    together = method.logits_of_views(Seen(features, logits))
    alone = [method.logits_of_views(Seen(f[None], one[None])) for f, one in zip(features, logits, strict=True)]
    assert torch.equal(together, torch.cat(alone))
    assert method.logits_of_views(Seen(features[:0], logits[:0])).shape == (0, 5)


def test_the_templates_of_the_classes_are_the_ensemble(tiny_clip):
    shown = torch.randn(3, 8, 3, 32, 32)
    ensemble = create_method("zero", tiny_clip, ClassSet(CLASSES, IMAGENET_SELECTED)).eval()
    one = create_method("zero", tiny_clip, CLASSES).eval()
    weights = [
        create_method("zero_shot", tiny_clip, ClassSet(CLASSES, (t,))).class_weights() for t in IMAGENET_SELECTED
    ]
    with torch.no_grad():
        seen = ensemble.seen(ensemble.consume(shown))
        mean = F.normalize(torch.stack(weights).mean(dim=0), dim=-1)
        torch.testing.assert_close(seen.logits, tiny_clip.logits(seen.features.flatten(0, 1), mean).view(3, 8, 5))
        assert not torch.equal(ensemble(shown), one(shown))


@pytest.mark.parametrize("inner", ["cocoop", "tip_adapter_f", "linear_probe"])
def test_it_stands_around_methods_that_have_logits_and_no_class_weights(inner, tiny_clip, batch):
    method = create_method(inner, tiny_clip, CLASSES, wrap=["zero"])
    assert "class_weights" not in method.inner.provides
    if "prepare" in method.provides:
        method.prepare(Support(method.consume(batch[0]), batch[1]))
    with torch.no_grad():
        shown = torch.randn(2, 8, 3, 32, 32)
        seen = method.eval().seen(method.consume(shown))
        assert torch.equal(method(shown).argmax(dim=1), vote(seen.logits).winner)


def test_a_picture_is_shown_in_its_own_views_whatever_comes_with_it(tiny_clip):
    pixels = torch.randint(0, 256, (3, 40, 60, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pictures = [Image.fromarray(one.numpy()) for one in pixels]
    method = create_method("zero", tiny_clip, CLASSES, n_views=8).eval()
    assert method.test_views == TestViews(8, augmix=False, seed=0)
    both, alone = method.predict(pictures), method.predict(pictures[1:2])
    assert both[1].probabilities == pytest.approx(alone[0].probabilities)
    with torch.no_grad():
        expected = method(torch.stack([views_of(picture, tiny_clip, method.test_views) for picture in pictures]))
    assert [one.indices[0] for one in both] == expected.argmax(dim=1).tolist()
    other = create_method("zero", tiny_clip, CLASSES, n_views=8, view_seed=1)
    assert not torch.equal(
        views_of(pictures[0], tiny_clip, method.test_views), views_of(pictures[0], tiny_clip, other.test_views)
    )


def test_what_cannot_be_voted_on_is_refused(tiny_clip):
    with pytest.raises(ValueError, match=r"shape \(5, 3\); expected \(images, views, classes\)"):
        vote(torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"shape \(2, 0, 3\)"):
        vote(torch.zeros(2, 0, 3))
    with pytest.raises(ValueError, match=r"tie='first'; expected max_logit or code"):
        vote(torch.zeros(2, 4, 3), tie="first")
    with pytest.raises(ValueError, match=r"share=0; expected"):
        create_method("zero", tiny_clip, CLASSES, share=0)
    with pytest.raises(ValueError, match=r"tie='codes'; expected one of max_logit, code; did you mean code"):
        create_method("zero", tiny_clip, CLASSES, tie="codes")

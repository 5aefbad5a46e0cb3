"""The token matcher: padding and missing kinds change nothing, and candidates are ranked again."""

import math

import pytest
import torch

from adaptkit.heads.multimodal_linking import (
    RecordTokens,
    TokenMatcher,
    intra_modal_contrastive_loss,
    matcher_scores,
    matching_loss,
    reranked,
    residual_pool,
)


def tokens(count: int, length: int = 4) -> RecordTokens:
    mask = torch.arange(length)[None] < torch.randint(1, length + 1, (count, 1))
    parts = torch.randn(count, 8), torch.randn(count, length, 8), torch.randn(count, 6), torch.randn(count, 5, 6)
    return RecordTokens(*parts, mask)


def padded(records: RecordTokens, more: int) -> RecordTokens:
    """The records with texts that have more padding, filled with noise."""
    assert records.text_mask is not None
    noise = 100 * torch.randn(len(records), more, records.text_tokens.shape[2])
    mask = torch.cat([records.text_mask, torch.zeros(len(records), more, dtype=torch.bool)], dim=1)
    texts = torch.cat([records.text_tokens, noise], dim=1)
    return RecordTokens(records.text_cls, texts, records.image_cls, records.image_tokens, mask)


@pytest.mark.parametrize("two_way", [False, True])
@pytest.mark.parametrize("temperatures", [(math.inf,), (2.0, 4.0, math.inf)])
def test_more_padding_changes_no_score(two_way, temperatures):
    matcher = TokenMatcher(8, 6, two_way=two_way, temperatures=temperatures)
    mentions, entities = tokens(3), tokens(4)
    expected = matcher(mentions, entities).mean
    torch.testing.assert_close(matcher(padded(mentions, 3), padded(entities, 5)).mean, expected)


def test_padding_counts_without_a_mask_as_released():
    records = tokens(2)
    bare = RecordTokens(records.text_cls, records.text_tokens, records.image_cls, records.image_tokens)
    matcher = TokenMatcher(8, 6)
    assert not torch.allclose(matcher(bare, bare).mean, matcher(records, records).mean)


def test_scores_that_a_record_cannot_have_are_left_out():
    matcher, both, one = TokenMatcher(8, 6), tokens(2), tokens(2)
    there = torch.tensor([True, True])
    without = RecordTokens(
        one.text_cls, one.text_tokens, torch.zeros(2, 6), torch.zeros(2, 5, 6), one.text_mask, there, ~there
    )
    scores = matcher(without, both)
    torch.testing.assert_close(scores.mean, scores.each["text"])
    image_alone = RecordTokens(
        torch.zeros(2, 8), torch.zeros(2, 4, 8), one.image_cls, one.image_tokens, one.text_mask, ~there, there
    )
    assert (matcher(without, image_alone).mean == 0).all()


def test_pooling_is_the_mean_plus_what_stands_out():
    x = torch.randn(2, 4, 3)
    torch.testing.assert_close(residual_pool(x, (math.inf,), 0.5), x.mean(dim=1) + 0.5 * x.amax(dim=1))
    torch.testing.assert_close(residual_pool(x, (1e4,)), x.mean(dim=1) + x.amax(dim=1), rtol=1e-3, atol=1e-3)


def test_the_diagonal_is_left_out_or_a_logit_of_zero():
    m, e = torch.randn(3, 5), torch.randn(3, 5)
    ours, released = (intra_modal_contrastive_loss(m, e, diagonal=diagonal) for diagonal in ("left_out", "zero"))
    assert float(ours) < float(released)
    inter_alone = intra_modal_contrastive_loss(m[:1], e[:1])
    assert float(inter_alone) == pytest.approx(0)


def test_scores_of_candidates_are_those_of_all_pairs():
    matcher, known = TokenMatcher(8, 6), tokens(6)
    queries, places = known.at(torch.tensor([0, 3])), torch.tensor([[1, 2, 5], [0, 1, 4]])
    with torch.no_grad():
        every = matcher(queries, known).mean
    torch.testing.assert_close(matcher_scores(matcher, queries, known, places), every.gather(1, places))


def test_beta_zero_leaves_the_order_and_a_large_one_follows_the_matcher():
    similar, scores = torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[1.0, 3.0, 2.0]])
    assert reranked(similar, scores, 0.0).tolist() == [[0, 1, 2]]
    assert reranked(similar, scores, 100.0).tolist() == [[1, 2, 0]]


def test_texts_of_different_lengths_are_joined():
    joined = RecordTokens.joined([tokens(2, 3), tokens(1, 5)])
    assert joined.text_tokens.shape == (3, 5, 8)
    assert not joined.text_mask[:2, 3:].any()


def test_mentions_and_entities_come_in_pairs():
    matcher = TokenMatcher(8, 6)
    with pytest.raises(ValueError, match="2 mentions and 3 entities"):
        matching_loss(matcher(tokens(2), tokens(3)), tokens(2), tokens(3))

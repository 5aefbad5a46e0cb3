"""Training of links: unseen groups are linked better, seeds repeat, and the protocol has its rows."""

import pytest
import torch
from torch import Tensor

from adaptkit import create_head
from adaptkit.heads.multimodal_linking import RecordFeatures, RecordTokens, records_of
from trainers.fit.link_protocol import protocol, rerank_row, shortlists, tune_rerank
from trainers.fit.linking import LinkTraining, train_linking, train_matcher

FAST = LinkTraining(epochs=8, lr=5e-3, batch_size=24)


def planted(width: int, groups: int, seed: int) -> tuple[RecordFeatures, Tensor]:
    """Two records a group; half of the coordinates say the group, and the others are louder noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(groups).repeat(2)

    def side() -> Tensor:
        said = torch.randn(groups, width // 2, generator=generator)[labels]
        said = said + 0.3 * torch.randn(len(labels), width // 2, generator=generator)
        return torch.cat([said, 3 * torch.randn(len(labels), width - width // 2, generator=generator)], dim=1)

    return records_of(side(), side()), labels


def test_training_links_unseen_groups_better(tiny_clip):
    head, width = create_head("multimodal_linking", tiny_clip, reduction=1), tiny_clip.embed_dim
    train, val, test = (planted(width, count, seed) for seed, count in enumerate((60, 20, 20)))
    before = head.learnt_state()
    log = train_linking(head, *train, *val, FAST)
    assert max(log.validation) > log.validation[0]
    assert log.kept == log.validation.index(max(log.validation))
    assert not head.training
    assert 0 <= head.threshold <= 2
    rows = {row.way: row.scores for row in protocol(val, test, head, draws=20)}
    assert list(rows) == ["image only", "text only", "pooled", "trained head"]
    assert rows["trained head"].top1 > rows["pooled"].top1
    assert any(not torch.equal(tensor, before[name]) for name, tensor in head.learnt_state().items())


@pytest.mark.parametrize("mining", ["every_epoch", "once"])
def test_the_same_seed_gives_the_same_head(mining, tiny_clip):
    train, val = planted(tiny_clip.embed_dim, 12, 0), planted(tiny_clip.embed_dim, 6, 1)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        head = create_head("multimodal_linking", tiny_clip, modality_dropout=0.5)
        settings = LinkTraining(epochs=2, batch_size=12, mining=mining, seed=seed)
        state = torch.get_rng_state()
        found.append(train_linking(head, *train, *val, settings).losses)
        assert torch.equal(torch.get_rng_state(), state)
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_head_that_learns_nothing_gets_a_threshold(tiny_clip):
    head = create_head("multimodal_linking", tiny_clip, adapters=False, mixing="fixed")
    train, val = planted(tiny_clip.embed_dim, 4, 0), planted(tiny_clip.embed_dim, 4, 1)
    log = train_linking(head, *train, *val, FAST)
    assert log.losses == ()
    assert head.threshold is not None


def token_records(count: int, width: int, seed: int) -> tuple[RecordTokens, Tensor]:
    """Two records a group, of which some tokens say the group; class tokens say nothing."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.arange(count).repeat(2)
    said = torch.randn(count, 1, width, generator=generator)[groups]
    words = torch.cat([said, torch.randn(2 * count, 2, width, generator=generator)], dim=1)
    cls = torch.randn(2, 2 * count, width, generator=generator)
    there = torch.ones(2 * count, dtype=torch.bool)
    return RecordTokens(
        cls[0] + said[:, 0], words, cls[1], words.flip(1), torch.ones(words.shape[:2]) > 0, there, there
    ), groups


def test_a_matcher_learns_and_ranks_again(tiny_clip):
    width = tiny_clip.embed_dim
    head = create_head("multimodal_linking", tiny_clip, tokens=True, token_width=16)
    tokens, groups = token_records(24, width, 0)
    losses = train_matcher(head, tokens, groups, LinkTraining(epochs=5, batch_size=32))
    assert losses[-1] < losses[0]
    records = records_of(torch.randn(48, width), torch.randn(48, width))
    found = shortlists(head, records, tokens, groups, most=20)
    assert found.places.shape == (48, 20)
    assert (found.places != found.asks[:, None]).all()
    beta = tune_rerank(head, found)
    assert float(found.right(beta).double().mean()) >= float(found.right(0.0).double().mean())
    row = rerank_row(head, found, draws=10)
    assert row.scores.ari is None
    assert set(row.intervals) == {"top1"}


def test_what_cannot_be_learnt_is_refused(tiny_clip):
    head = create_head("multimodal_linking", tiny_clip)
    records, groups = planted(tiny_clip.embed_dim, 3, 0)
    with pytest.raises(ValueError, match="of 6 records for training in 6 groups none can be linked"):
        train_linking(head, records, torch.arange(6), records, groups, FAST)
    with pytest.raises(ValueError, match="for validation"):
        train_linking(head, records, groups, records, torch.zeros(6, dtype=torch.long), FAST)
    tokens, own = token_records(3, tiny_clip.embed_dim, 0)
    with pytest.raises(ValueError, match="make it with tokens=True"):
        train_matcher(head, tokens, own, FAST)
    with pytest.raises(ValueError, match="the head has no threshold"):
        protocol((records, groups), (records, groups), head, draws=5)

"""The ranking objective: both directions, groups, the queue and the first epochs."""

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit.contract.pair_objective import TrainedOnPairs
from adaptkit.layers.ranking import hinge
from adaptkit.objectives.hinge import HingeConfig


@pytest.fixture
def heads(tiny_clip):
    return adaptkit.create_method("ranking_heads", tiny_clip, None, dropout=0.0)


@pytest.fixture
def features(tiny_clip):
    generator = torch.Generator().manual_seed(0)
    return [F.normalize(torch.randn(5, tiny_clip.embed_dim, generator=generator), dim=-1) for _ in range(2)]


def objective(method, **options):
    return adaptkit.create_objective(method, [("hinge", HingeConfig(**options))])


def test_both_directions_are_summed(heads, features):
    images, texts = features
    similarity, negatives = images @ texts.T, ~torch.eye(5, dtype=torch.bool)
    parts = [hinge(s, s.diag(), negatives, 0.2) for s in (similarity, similarity.T)]
    both = objective(heads).between(images, texts, torch.arange(5))
    torch.testing.assert_close(both, parts[0] + parts[1])
    one = objective(heads, text_to_image=0.0).between(images, texts, torch.arange(5))
    torch.testing.assert_close(one, parts[0])


def test_a_direction_without_weight_has_no_gradient(heads, features):
    images, texts = (rows.clone().requires_grad_() for rows in features)
    groups = torch.tensor([0, 1, 1, 1, 1])  # images 1 to 4 rank text 0 alone
    objective(heads, text_to_image=0.0, margin=2.0, reduction="sum").between(images, texts, groups).backward()
    own = texts.grad.clone()
    assert own[0].abs().sum() > 0
    with pytest.raises(ValueError, match="both 0, so nothing is ranked"):
        objective(heads, text_to_image=0.0, image_to_text=0.0)


def test_pairs_of_one_group_are_no_negatives(heads, features):
    loss = objective(heads, margin=2.0).between(*features, torch.zeros(5, dtype=torch.int64))
    assert float(loss) == 0


def test_max_mining_sums_in_its_first_epoch(heads, features):
    made = objective(heads, mining="max", reduction="sum")
    first = made.between(*features, torch.arange(5))
    torch.testing.assert_close(first, objective(heads, reduction="sum").between(*features, torch.arange(5)))
    TrainedOnPairs(heads, made).after_epoch(0)
    assert made.between(*features, torch.arange(5)) < first


def test_the_queue_has_the_pairs_of_earlier_batches(heads, features):
    images, texts = features
    made = objective(heads, queue=3, reduction="sum", margin=2.0)
    plain = objective(heads, reduction="sum", margin=2.0)
    groups = torch.arange(5)
    torch.testing.assert_close(made.between(images, texts, groups), plain.between(images, texts, groups))
    assert made.queued_groups.tolist() == [0, 1, 2]
    longer = made.between(images[3:], texts[3:], groups[3:])
    similarity = images[3:] @ torch.cat([texts[3:], texts[:3]]).T
    other = texts[3:] @ torch.cat([images[3:], images[:3]]).T
    negatives = ~torch.eye(2, 5, dtype=torch.bool)
    own = similarity.diag()
    expected = sum(hinge(s, own, negatives, 2.0, reduction="sum") for s in (similarity, other))
    torch.testing.assert_close(longer, expected)
    assert made.queued_groups.tolist() == [3, 4, 0]


def test_epochs_and_queue_are_part_of_an_interrupted_training(heads, features):
    made = TrainedOnPairs(heads, objective(heads, mining="max", queue=3))
    made.objective.between(*features, torch.arange(5))
    made.after_epoch(0)
    again = TrainedOnPairs(heads, objective(heads, mining="max", queue=3))
    again.load_training_state(made.training_state())
    assert int(again.objective.epochs) == 1
    assert torch.equal(again.objective.queued_texts, made.objective.queued_texts)
    assert not any("objective" in name for name in made.learnt_state())

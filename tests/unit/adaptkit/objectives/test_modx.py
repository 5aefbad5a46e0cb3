"""Mod-X's objective: what it keeps of the old model, what it leaves alone, and its baselines."""

import math

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit.contract.batches import PairBatch
from adaptkit.contract.pair_objective import TrainedOnPairs
from adaptkit.objectives.modx import (
    ALPHA_OF_MEAN,
    RELEASED_ALPHA,
    L2DeltaConfig,
    LwFConfig,
    ModXConfig,
    OldModel,
    alignment,
    class_incremental_loss,
    gated_labels,
    gated_rows,
    gated_target,
    modx_loss,
    row_divergence,
)
from benchmarks.two_phases import two_phases
from tests.helpers.models import build, default_dtype
from trainers.pairs.cached_gradients import Pieces, backward_in_pieces

TEXTS = ("a cat", "a dog in the snow", "whales", "a small red house", "two cars")
SCALE = torch.tensor(2.66)


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


def made(backbone, name="clip_lora", **options):
    """A method whose learnt tensors are not those that it starts with."""
    method = adaptkit.create_method(name, backbone, None, **options)
    moved(method)
    return method


def moved(method):
    for parameter in method.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.05)


@pytest.fixture
def batch():
    return PairBatch(torch.randn(5, 3, 32, 32), list(TEXTS), torch.arange(5))


@pytest.mark.parametrize("config", [("modx", ModXConfig(alpha=0)), ("lwf", LwFConfig(alpha=0)), ("l2_delta", None)])
def test_without_its_weight_the_loss_is_info_nce(tiny_clip, batch, config):
    method = made(tiny_clip).eval()
    plain = adaptkit.create_objective(method, ["info_nce"])
    objective = adaptkit.create_objective(method, [config])  # nothing has moved yet, so L2 is zero
    assert torch.equal(objective.loss(method, batch), plain.loss(method, batch))


def test_an_old_model_that_is_the_current_one_gives_no_loss_and_no_gradient():
    images, texts = torch.randn(6, 8, requires_grad=True), torch.randn(6, 8, requires_grad=True)
    for options in ({}, {"gate": "none"}, {"off_diagonal": True}, {"tau": 0.07}, {"gate": "groups"}):
        loss = modx_loss(images, texts, images.detach(), texts.detach(), SCALE, **options).align.loss
        gradients = torch.autograd.grad(loss, (images, texts))
        assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
        assert all(gradient.abs().max() < 1e-6 for gradient in gradients)


def test_a_gated_row_gives_no_gradient_like_the_released_replacement():
    with default_dtype(torch.float64):
        images, texts, images_old, texts_old = (torch.randn(6, 4) for _ in range(4))
        images.requires_grad_()
        current = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
        old = F.normalize(images_old, dim=-1) @ F.normalize(texts_old, dim=-1).T
        gated = gated_rows(old)
        assert 0 < gated.sum() < 6
        target = gated_target(current, old, gated)  # rows with the graph of the current model, as released
        p = target.softmax(dim=1)
        (replaced,) = torch.autograd.grad(
            (p * (p.log() - current.softmax(dim=1).log())).sum(), images, retain_graph=True
        )
        (masked,) = torch.autograd.grad(row_divergence(current, old)[~gated].sum(), images)
        torch.testing.assert_close(replaced, masked)
        assert torch.equal(masked[gated], torch.zeros_like(masked[gated]))


def test_the_mean_weighs_as_the_sum_at_the_released_batch():
    rows = [unit(280, 8) for _ in range(4)]
    by_sum, by_mean = (alignment(*rows, reduction=reduction).loss for reduction in ("sum", "mean"))
    torch.testing.assert_close(RELEASED_ALPHA * by_sum, ALPHA_OF_MEAN * by_mean)


def test_off_diagonal_softmaxes_leave_the_diagonal_out():
    current, old = torch.randn(4, 4), torch.randn(4, 4)
    hidden = torch.eye(4).bool()
    p, q = (rows.masked_fill(hidden, -math.inf).softmax(dim=1) for rows in (old, current))
    terms = torch.where(hidden, 0.0, p * (p / q).log())
    torch.testing.assert_close(row_divergence(current, old, off_diagonal=True), terms.sum(dim=1))
    assert row_divergence(current[:1, :1], old[:1, :1], off_diagonal=True).tolist() == [0.0]


def test_pairs_of_a_group_and_the_same_captions_are_rightly_found():
    images_old, texts_old = unit(4, 8), unit(4, 8)
    texts_old[1] = texts_old[0]  # one caption
    images_old[0], images_old[1] = texts_old[0], F.normalize(texts_old[0] + 0.1, dim=0)
    images_old[2], images_old[3] = texts_old[3], texts_old[3]  # image 2 finds text 3
    groups = torch.tensor([0, 1, 2, 2])
    rows = (unit(4, 8), unit(4, 8), images_old, texts_old)
    assert alignment(*rows, gate="own").gated_image_rows.tolist() == [False, True, True, False]
    assert not alignment(*rows, gate="groups", groups=groups).gated_image_rows.any()
    assert alignment(*rows, gate="groups").gated_image_rows.tolist() == [False, False, True, False]
    assert alignment(*rows, gate="own").gated_text_rows[1]  # text 1 is as near to image 0, which is its caption's
    assert not alignment(*rows, gate="groups", groups=groups).gated_text_rows[1]
    assert not alignment(*rows, gate="none").gated_text_rows.any()


def test_the_old_model_does_not_change_is_not_saved_and_not_stepped(tiny_clip, batch):
    method = made(tiny_clip, dropout=0.5)
    objective = adaptkit.create_objective(method, ["modx"])
    trained = TrainedOnPairs(method, objective).train()
    old = objective.old.method
    before = {name: tensor.clone() for name, tensor in old.learnt_state().items()}
    for name, tensor in method.learnt_state().items():
        assert torch.equal(dict(old.named_parameters())[name], tensor)
    assert trained.learnt_parameters().keys() == {f"inner.{name}" for name in method.learnt_parameters()}
    assert not any("old" in name for name in trained.training_state())
    assert not any("old" in name for name in objective.state_dict())
    optimizer = torch.optim.SGD(trained.learnt_parameters().values(), lr=1.0)
    backward_in_pieces(method, objective, batch, Pieces(2, seed=1))
    optimizer.step()
    assert not old.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in old.parameters())
    assert {name: tensor.tolist() for name, tensor in before.items()} == {
        name: tensor.tolist() for name, tensor in old.learnt_state().items()
    }


def test_old_features_are_those_from_before_and_come_without_gradients(tiny_clip, batch):
    method = made(tiny_clip).eval()
    expected = method.encode_image(batch.images).detach(), method.encode_text(batch.texts).detach()
    old = OldModel(method)
    moved(method)
    images, texts = old.image_rows(method, batch.images), old.text_rows(method, batch.texts)
    for rows, then, now in (
        (images, expected[0], method.encode_image(batch.images)),
        (texts, expected[1], method.encode_text(batch.texts)),
    ):
        torch.testing.assert_close(rows[:, 1], then)
        torch.testing.assert_close(rows[:, 0], now)
    (gradient,) = torch.autograd.grad(
        images[:, 1].sum() + 0 * images.sum(), next(iter(method.vision_updates.parameters()))
    )
    assert not gradient.any()
    assert old.image_rows(method, images) is images  # rows of a side that does not learn stay as they are


def test_a_method_that_is_fed_from_features_has_old_features_of_them(tiny_clip, batch):
    method = made(tiny_clip, "clip_adapter", text_alpha=0.5).eval()
    old = OldModel(method)
    moved(method)
    frozen = method.consume(batch.images), tiny_clip.encode_text(batch.texts)
    torch.testing.assert_close(old.image_rows(method, frozen[0]), old.image_rows(method, batch.images))
    torch.testing.assert_close(old.text_rows(method, frozen[1]), old.text_rows(method, batch.texts))


def test_wrapped_methods_and_methods_with_classes_have_an_old_model(tiny_clip, batch):
    wrapped = adaptkit.create_method("clip_lora", tiny_clip, None, wrap=["token_merging"])
    moved(wrapped)
    named = adaptkit.create_method("coop", tiny_clip, ["cat", "dog"], n_ctx=2)
    for method in (wrapped.eval(), named.eval()):
        rows = OldModel(method).image_rows(method, batch.images)
        torch.testing.assert_close(rows[:, 0], rows[:, 1])


def test_a_method_of_unknown_making_is_refused(tiny_clip):
    method = adaptkit.create_method("clip_lora", tiny_clip, None)
    method.spec = None
    with pytest.raises(ValueError, match="was not made by create_method"):
        OldModel(method)


@pytest.mark.parametrize("name", ["modx", "lwf", "l2_delta"])
def test_pieces_of_any_size_give_the_gradients_of_the_whole(name):
    with default_dtype(torch.float64):
        method = made(build("clip_vit", torch.float64), dropout=0.0)
        batch = PairBatch(torch.randn(5, 3, 32, 32), list(TEXTS), torch.tensor([0, 1, 2, 2, 3]))
        objective = adaptkit.create_objective(method, [name])
        moved(method)
        found = []
        for size in (5, 2):
            method.zero_grad()
            loss = backward_in_pieces(method.train(), objective, batch, Pieces(size, seed=1))
            found.append((loss, {key: tensor.grad.clone() for key, tensor in method.learnt_parameters().items()}))
        method.zero_grad()
        objective.loss(method, batch).backward()
        for loss, gradients in found:
            torch.testing.assert_close(loss, objective.loss(method, batch).detach())
            for key, tensor in method.learnt_parameters().items():
                torch.testing.assert_close(gradients[key], tensor.grad, rtol=1e-5, atol=1e-8)


def test_lwf_holds_logits_and_l2_the_learnt_tensors(tiny_clip, batch):
    method = made(tiny_clip).eval()
    lwf = adaptkit.create_objective(method, [("lwf", LwFConfig(alpha=3.0))])
    l2 = adaptkit.create_objective(method, [("l2_delta", L2DeltaConfig(alpha=3.0))])
    plain = adaptkit.create_objective(method, ["info_nce"])
    old = (
        F.normalize(method.encode_image(batch.images), dim=-1) @ F.normalize(method.encode_text(batch.texts), dim=-1).T
    )
    start = method.learnt_state()
    moved(method)
    new = (
        F.normalize(method.encode_image(batch.images), dim=-1) @ F.normalize(method.encode_text(batch.texts), dim=-1).T
    )
    scale = tiny_clip.logit_scale.exp()
    ways = [F.kl_div((scale * n).log_softmax(1), (scale * o).softmax(1), reduction="batchmean") for n, o in
            ((new, old), (new.T, old.T))]  # fmt: skip
    nce = plain.loss(method, batch)
    torch.testing.assert_close(lwf.loss(method, batch), nce + 3 * sum(ways) / 2, rtol=1e-4, atol=1e-5)
    distance = sum((tensor - start[name]).square().sum() for name, tensor in method.learnt_state().items())
    torch.testing.assert_close(l2.loss(method, batch), nce + 1.5 * distance)


def test_two_phases_forget_less_with_the_released_weight():
    for seed in range(3):
        free, kept = two_phases(0.0, seed), two_phases(RELEASED_ALPHA, seed)
        assert free.after_first == kept.after_first
        assert kept.forgotten < free.forgotten
        assert kept.after_second[1] > kept.after_first[1]  # the second domain is learnt all the same


def test_rows_of_new_classes_and_misjudged_rows_are_left_out():
    old = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.5, 0.4]])
    assert gated_labels(old, torch.tensor([0, 1, 1, 2])).tolist() == [False, True, False, True]
    images, weights = torch.randn(4, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    labels = torch.tensor([2, 2, 2, 2])  # a class that the old model does not know: plain cross-entropy
    loss = class_incremental_loss(images, weights, torch.randn(4, 8), torch.randn(2, 8), labels, SCALE)
    logits = SCALE.exp() * F.normalize(images, dim=-1) @ F.normalize(weights, dim=-1).T
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))
    labels = torch.tensor([0, 1, 0, 1])
    same = class_incremental_loss(images, weights, images, weights[:2], labels, SCALE, alpha=50.0)
    torch.testing.assert_close(same, F.cross_entropy(logits, labels))  # the old model is the current one
    with pytest.raises(ValueError, match="4 old classes of 3"):
        class_incremental_loss(images, weights, images, torch.randn(4, 8), labels, SCALE)

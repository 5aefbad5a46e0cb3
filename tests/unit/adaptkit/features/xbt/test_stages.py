"""The stages as objectives: what learns in each, and what stays."""

import pytest
import torch

import adaptkit
from adaptkit.contract.batches import PairBatch
from adaptkit.features.xbt import pair_loss, start_projection, text_loss
from adaptkit.features.xbt.alignment import unit
from adaptkit.features.xbt.stages import BesideUntouched, PairStage, TextStage

TEXTS = ["a cat", "a dog", "a red car", "rain"]


@pytest.fixture
def phi(tiny_clip):
    texts = tiny_clip.encode_text(TEXTS)
    return start_projection(texts, texts, hidden=8)


def images(seed=0):
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def moved(module):
    return {name for name, parameter in module.named_parameters() if parameter.grad is not None}


def test_stage_1_is_its_loss_of_perturbed_rows_and_moves_phi(tiny_clip, phi):
    method = adaptkit.create_method("zero_shot", tiny_clip, None)
    new, old = torch.randn(4, tiny_clip.embed_dim), torch.randn(4, tiny_clip.embed_dim)
    loss = TextStage(method, phi, 0.0, lambda_m=2.0, tau=0.1).between(new, old, torch.arange(4))
    torch.testing.assert_close(loss, text_loss(phi.project(new), unit(old), lambda_m=2.0, tau=0.1))
    loss.backward()
    assert moved(phi) == {name for name, _ in phi.named_parameters()}
    noisy = TextStage(method, phi, 0.5).between(new, old, torch.arange(4))
    assert not torch.equal(noisy, TextStage(method, phi, 0.0).between(new, old, torch.arange(4)))


def test_updates_of_both_towers_learn_and_phi_and_the_targets_stay(tiny_clip, phi):
    lora = adaptkit.create_method("clip_lora", tiny_clip, None, dropout=0.0)
    stage, method = PairStage(lora, phi), BesideUntouched(lora)
    for _ in range(2):  # the first step moves B alone, as A is behind its zeros
        loss = stage.loss(method, PairBatch(images(), TEXTS, torch.arange(4)))
        loss.backward()
        with torch.no_grad():
            for parameter in lora.learnt_parameters().values():
                parameter.sub_(0.1 * parameter.grad.sign())
    assert moved(lora) == set(lora.learnt_parameters())
    assert not moved(phi)
    for side in ("text_updates", "vision_updates"):
        changed = [name for name, tensor in lora.learnt_state().items() if name.startswith(side) and tensor.abs().sum()]
        assert changed, side
    tuned, untouched = method.encode_text(TEXTS).chunk(2, dim=1)
    assert torch.equal(untouched, tiny_clip.encode_text(TEXTS))
    assert not torch.allclose(tuned, untouched)
    assert tuned.requires_grad


def test_a_head_of_images_learns_alone_on_features(tiny_clip, phi):
    method = adaptkit.create_method("zero_shot", tiny_clip, None)
    head = start_projection(tiny_clip.encode_text(TEXTS), tiny_clip.encode_text(TEXTS), hidden=8, seed=2)
    stage = PairStage(method, phi, head)
    image_rows, texts = torch.randn(4, tiny_clip.embed_dim), torch.randn(4, tiny_clip.embed_dim)
    loss = stage.between(image_rows, texts.repeat(1, 2), torch.arange(4))
    targets = phi.project(texts)
    torch.testing.assert_close(loss, pair_loss(head.project(image_rows), targets, targets))
    loss.backward()
    assert moved(head) == {name for name, _ in head.named_parameters()}
    assert not moved(phi)

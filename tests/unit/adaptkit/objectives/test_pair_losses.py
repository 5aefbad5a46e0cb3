"""InfoNCE and SigLIP's loss against their equations, written out, and against open_clip's own losses."""

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, SigLipLoss

import adaptkit
from adaptkit.contract.batches import PairBatch
from adaptkit.contract.pair_objective import PairObjective


def objective(name, tiny_clip, **options):
    method = adaptkit.create_method("zero_shot", tiny_clip, None)
    made = adaptkit.create_objective(method, [(name, adaptkit.objective_config(name)(**options))])
    assert isinstance(made, PairObjective)
    return made


@pytest.fixture
def features():
    """Images and texts (6, 8), not normalised."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 8, generator=generator), torch.randn(6, 8, generator=generator)


def test_info_nce_is_clips_loss(tiny_clip, features):
    images, texts = features
    made = objective("info_nce", tiny_clip)
    scale = tiny_clip.logit_scale.exp()
    expected = ClipLoss()(F.normalize(images, dim=-1), F.normalize(texts, dim=-1), scale)
    torch.testing.assert_close(made.between(images, texts, torch.arange(6)), expected)


def test_siglip_is_its_released_loss(tiny_clip, features):
    images, texts = features
    made = objective("siglip", tiny_clip)
    unit = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    expected = SigLipLoss()(*unit, torch.tensor(10.0), torch.tensor(-10.0))
    torch.testing.assert_close(made.between(images, texts, torch.arange(6)), expected)


@pytest.mark.parametrize("name", ["info_nce", "siglip"])
def test_pairs_of_one_group_are_no_negatives(tiny_clip, features, name):
    images, texts = features
    made = objective(name, tiny_clip)
    images = images.clone().requires_grad_()
    made.between(images, texts, torch.tensor([0, 0, 1, 2, 3, 4])).backward()
    moved = texts.clone()
    moved[1] += 1  # text 1 is no negative of image 0, so image 0 does not see that it moves
    others = images.detach().clone().requires_grad_()
    made.between(others, moved, torch.tensor([0, 0, 1, 2, 3, 4])).backward()
    if name == "siglip":  # each pair is told on its own, so the gradient of image 0 stays as it was
        torch.testing.assert_close(others.grad[0], images.grad[0])
    assert not torch.allclose(others.grad[2], images.grad[2], atol=1e-9)
    alone = made.between(images[:2].detach(), texts[:2], torch.tensor([7, 7]))
    if name == "info_nce":  # each row has its own text alone, and nothing to tell apart
        assert float(alone) == 0


def test_a_learnt_scale_gets_gradients_and_stays_out_of_the_method(tiny_clip, features):
    made = objective("info_nce", tiny_clip, scale="learnt")
    made.between(*features, torch.arange(6)).backward()
    assert made.log_scale.grad is not None
    frozen = objective("info_nce", tiny_clip)
    assert not list(p for p in frozen.parameters() if p.requires_grad)


def test_features_and_texts_give_the_same_loss(tiny_clip):
    method = adaptkit.create_method("zero_shot", tiny_clip, None)
    made = adaptkit.create_objective(method, ["info_nce"])
    images, texts = torch.randn(3, 3, 32, 32), ["a cat", "a dog", "a whale"]
    groups = torch.arange(3)
    whole = made.loss(method, PairBatch(images, texts, groups))
    kept = PairBatch(tiny_clip.encode_image(images), tiny_clip.encode_text(texts), groups)
    torch.testing.assert_close(made.loss(method, kept), whole)

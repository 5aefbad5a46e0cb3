"""Gradients of a large batch in pieces are those of the loss itself."""

from dataclasses import replace

import pytest
import torch

import adaptkit
from adaptkit.contract.batches import PairBatch
from tests.helpers.models import build, default_dtype
from trainers.pairs.cached_gradients import Pieces, backward_in_pieces

TEXTS = ("a cat", "a dog in the snow", "whales", "a small red house", "two cars", "an apple", "rain")


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(7, 3, 32, 32, generator=generator, dtype=torch.float64)
    return PairBatch(images, list(TEXTS), torch.tensor([0, 1, 2, 2, 3, 4, 5]))


@pytest.fixture(autouse=True)
def _double():
    with default_dtype(torch.float64):
        yield


def gradients(method, objective, batch, size, seed=3):
    for parameter in (*method.parameters(), *objective.parameters()):
        parameter.grad = None
    loss = backward_in_pieces(method.train(), objective, batch, Pieces(size, seed))
    own = {name: parameter.grad.clone() for name, parameter in method.learnt_parameters().items()}
    own |= {f"objective/{n}": p.grad.clone() for n, p in objective.named_parameters() if p.requires_grad}
    return loss, own


@pytest.mark.parametrize("name", ["info_nce", "siglip"])
@pytest.mark.parametrize(
    ("method", "options"),
    [("clip_lora", {"dropout": 0.0}), ("maple", {"n_ctx": 2}), ("coop", {"n_ctx": 2}), ("vpt", {})],
)
def test_pieces_of_any_size_give_the_gradients_of_the_whole(batch, name, method, options):
    made = adaptkit.create_method(method, build("clip_vit", torch.float64), None, **options).double()
    for parameter in made.learnt_parameters().values():  # LoRA's zeros would leave half of the gradients at 0.
        torch.nn.init.normal_(parameter, std=0.02)
    config = adaptkit.objective_config(name)(scale="learnt")
    objective = adaptkit.create_objective(made, [(name, config)])
    whole, expected = gradients(made, objective, batch, 7)
    direct = objective.loss(made, batch)
    torch.testing.assert_close(direct.detach(), whole)
    for size in (1, 3, 6):
        loss, own = gradients(made, objective, batch, size)
        torch.testing.assert_close(loss, whole)
        for key, gradient in expected.items():
            torch.testing.assert_close(own[key], gradient, rtol=1e-5, atol=1e-7)


def test_dropout_is_the_same_in_both_passes(batch):
    made = adaptkit.create_method("clip_lora", build("clip_vit", torch.float64), None, dropout=0.5)
    for parameter in made.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.1)
    objective = adaptkit.create_objective(made, ["info_nce"])
    _, first = gradients(made, objective, batch, 3)
    _, again = gradients(made, objective, batch, 3)
    _, other = gradients(made, objective, batch, 3, seed=4)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_features_of_a_frozen_side_give_the_same_gradients(batch):
    backbone = build("clip_vit", torch.float64)
    made = adaptkit.create_method("clip_lora", backbone, None, encoder="vision", dropout=0.0)
    objective = adaptkit.create_objective(made, ["info_nce"])
    for parameter in made.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.02)
    _, expected = gradients(made, objective, batch, 3)
    kept = replace(batch, texts=backbone.encode_text(batch.texts).detach())
    _, own = gradients(made, objective, kept, 3)
    for key, gradient in expected.items():
        torch.testing.assert_close(own[key], gradient, rtol=1e-5, atol=1e-7)

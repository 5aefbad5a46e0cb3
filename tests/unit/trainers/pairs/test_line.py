"""The line between a model before and after a training."""

import pytest
import torch

import adaptkit
from tests.helpers.models import build
from trainers.pairs.line import Place, choose, put_on_line


def test_the_ends_of_the_line_are_the_two_models_to_the_last_bit():
    method = adaptkit.create_method("clip_lora", build("clip_vit"), None)
    before = {name: torch.randn_like(tensor) for name, tensor in method.learnt_state().items()}
    after = {name: torch.randn_like(tensor) for name, tensor in before.items()}
    for alpha, expected in ((0.0, before), (1.0, after)):
        put_on_line(method, before, after, alpha)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in method.learnt_state().items())
    put_on_line(method, before, after, 0.25)
    for name, tensor in method.learnt_state().items():
        torch.testing.assert_close(tensor, 0.75 * before[name] + 0.25 * after[name])


@pytest.mark.parametrize(("least", "alpha"), [(None, 1.0), (61.0, 0.5), (62.5, 0.0), (70.0, 0.0)])
def test_the_most_is_gained_where_little_is_forgotten(least, alpha):
    places = [Place(0.0, 300.0, 63.0), Place(0.5, 320.0, 62.0), Place(1.0, 330.0, 55.0)]
    assert choose(places, least).alpha == alpha

"""What is encoded once is what a training would encode in every step."""

import pytest
import torch

import adaptkit
from adaptkit.contract.batches import PairBatch
from adaptkit.contract.pair_objective import PairObjective, image_features, text_features, text_is_there
from tests.helpers.models import build
from trainers.pairs.cached_gradients import Pieces, backward_in_pieces
from trainers.pairs.encoded_once import text_encoder
from trainers.pairs.written_texts import WrittenTexts

CAPTIONS = (("a cat", "a cat that sleeps"), ("two whales",), ("a red house", "rain"))


class Reversed(PairObjective):
    """Each caption with its words in reverse; captions of one word have none."""

    writes_texts = True

    def texts_of(self, captions, drawn, fit, seed):
        words = captions[drawn].split()
        return fit(captions[drawn]), fit(" ".join(reversed(words))) if len(words) > 1 else None

    def between(self, images, texts, groups):
        own, wrong = texts.unbind(dim=1)
        there = text_is_there(wrong)
        return ((images * wrong).sum(dim=1)[there] - (images * own).sum(dim=1)[there]).mean()


@pytest.fixture(scope="module")
def backbone():
    return build("clip_vit")


def written(objective, encode=None):
    return WrittenTexts(objective, CAPTIONS, lambda text: text, seed=1, encode=encode)


@pytest.mark.parametrize(("name", "options"), [("vpt", {}), ("clip_adapter", {"text_alpha": 0.5})])
def test_written_texts_are_encoded_once_where_the_text_side_allows_it(backbone, name, options):
    torch.manual_seed(0)
    method = adaptkit.create_method(name, backbone, None, **options)
    objective = Reversed(method)
    plain = written(objective).of([0, 2, 2], [1, 1, 0], epoch=3)
    encode = text_encoder(method, objective, "fp32")
    assert encode is not None
    kept = written(objective, encode)
    rows = kept.of([0, 2, 2], [1, 1, 0], epoch=3)
    assert plain[1] == ("rain", None)
    assert rows.shape[:2] == (3, 2)
    assert text_is_there(rows).tolist() == [[True, True], [True, False], [True, True]]
    torch.testing.assert_close(text_features(method, rows), text_features(method, plain), rtol=1e-4, atol=1e-5)
    assert torch.equal(kept.of([0, 2, 2], [1, 1, 0], epoch=3), rows)


def test_a_learning_text_side_has_nothing_to_keep(backbone):
    method = adaptkit.create_method("clip_lora", backbone, None)
    assert text_encoder(method, Reversed(method), "fp32") is None


def test_features_of_the_frozen_tower_train_as_images_do(backbone):
    torch.manual_seed(0)
    method = adaptkit.create_method("clip_adapter", backbone, None)
    images, groups = torch.randn(3, 3, 32, 32), torch.arange(3)
    objective = adaptkit.create_objective(method, ["info_nce"])
    texts = ["a cat", "a dog", "rain"]
    whole = objective.loss(method, PairBatch(images, texts, groups))
    kept = objective.loss(method, PairBatch(method.consume(images), backbone.encode_text(texts), groups))
    torch.testing.assert_close(kept, whole)
    assert image_features(method, method.consume(images)).requires_grad


def test_missing_texts_take_no_part_in_pieces(backbone):
    torch.manual_seed(0)
    method = adaptkit.create_method("clip_lora", backbone, None, dropout=0.0)
    for parameter in method.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.02)
    objective = Reversed(method)
    batch = PairBatch(torch.randn(3, 3, 32, 32), written(objective).of([0, 2, 2], [1, 1, 0], 0), torch.arange(3))
    gradients = []
    for size in (3, 2, 1):
        method.zero_grad()
        backward_in_pieces(method.train(), objective, batch, Pieces(size, seed=1))
        gradients.append({name: tensor.grad.clone() for name, tensor in method.learnt_parameters().items()})
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-3, atol=1e-6)

"""The objective: what it draws, what it needs of images, and what it asks of a backbone."""

import pytest
import torch

import adaptkit
from adaptkit.contract.batches import PairBatch
from adaptkit.objectives.dreamlip import DreamLIPConfig, draw, pieces_of, text_from_descriptors
from tests.helpers.models import build

LONG = ("A red car stands here. Trees are behind it. Mr. Brown waves to us", "A sunny day at noon")


def made(method, **options):
    return adaptkit.create_objective(method, [("dreamlip", DreamLIPConfig(**options))])


@pytest.fixture
def lora(tiny_clip):
    return adaptkit.create_method("clip_lora", tiny_clip, None, dropout=0.0)


def test_texts_are_the_caption_and_drawn_pieces(lora):
    objective = made(lora, texts=3)
    texts = objective.texts_of(LONG, 1, str, seed=4)
    assert texts[0] == LONG[1]
    pool = {"A red car stands here", "Trees are behind it", "Brown waves to us", "A sunny day at noon"}
    assert set(texts[1:]) < pool
    assert len(set(texts[1:])) == 3
    assert objective.texts_of(LONG, 1, str, seed=4) == texts
    drawn = {text for seed in range(40) for text in objective.texts_of(LONG, 1, str, seed)[1:]}
    assert drawn == pool  # the last piece is drawn, too


def test_few_pieces_are_drawn_again_and_none_is_missing(lora):
    objective = made(lora, texts=3)
    assert objective.texts_of(("a cat",), 0, str, 1) == ("a cat", "a cat", "a cat", "a cat")
    assert objective.texts_of(("...",), 0, str, 1) == ("...", None, None, None)
    merged = made(lora, texts=2, merge=2, least_words=1).texts_of(("One. Two. Three",), 0, str, 1)
    assert set(merged[1:]) == {"One. Two", "Two. Three"}


def test_short_pieces_stay_where_there_are_no_others():
    assert pieces_of(["Mr. Brown. No."], least_words=3) == ["Mr", "Brown", "No"]
    assert pieces_of(["Mr. Brown waves to us."], least_words=3) == ["Brown waves to us"]
    with pytest.raises(ValueError, match="nothing can be drawn from 0 places"):
        draw(0, 2, torch.Generator())


def test_descriptors_make_a_long_caption():
    text = text_from_descriptors("corgi", ["short legs", "a fox-like face."])
    assert pieces_of([text]) == ["a photo of a corgi", "It has short legs", "It has a fox-like face"]


@pytest.mark.parametrize(("name", "options"), [("clip_lora", {"dropout": 0.0}), ("ranking_heads", {"dropout": 0.0})])
def test_the_class_row_is_the_image_feature(tiny_clip, name, options):
    torch.manual_seed(0)
    method = adaptkit.create_method(name, tiny_clip, None, **options)
    for parameter in method.learnt_parameters().values():
        torch.nn.init.normal_(parameter, std=0.02)
    images = torch.randn(2, 3, 32, 32)
    rows = made(method).image_side(method, images)
    assert rows.ndim == 3
    torch.testing.assert_close(rows[:, 0], method.encode_image(images))
    again = made(method).image_side(method, made(method).image_input(method, images))
    if name == "ranking_heads":
        torch.testing.assert_close(again, rows)


def test_the_loss_reaches_the_method_and_the_local_scale(lora):
    objective = made(lora, texts=2)
    texts = [objective.texts_of((f"{name} runs fast. It is very big",), 0, str, 1) for name in ("cat", "dog", "ox")]
    loss = objective.loss(lora, PairBatch(torch.randn(3, 3, 32, 32), texts, torch.arange(3)))
    loss.backward()
    assert objective.log_scale_local.grad is not None
    assert sum(p.grad.abs().sum() for p in lora.learnt_parameters().values()) > 0


def test_without_patches_any_backbone_will_do():
    method = adaptkit.create_method("clip_adapter", build("modified_resnet"), None)
    with pytest.raises(ValueError, match="dreamlip with patches"):
        made(method)
    assert made(method, grouping=0.0).image_side(method, torch.randn(1, 3, 64, 64)).ndim == 2

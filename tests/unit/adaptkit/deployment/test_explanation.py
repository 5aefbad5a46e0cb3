"""Nearest words of learnt tokens, and the occlusion map."""

import numpy as np
import pytest
import torch
from PIL import Image

import adaptkit
from adaptkit import create_method
from adaptkit.deployment.explanation import draw_relevance, nearest_words, relevance, usual_distance
from tests.conftest import CLASSES
from tests.helpers.models import build
from trainers.cli import main


def test_a_token_that_is_a_word_is_nearest_to_that_word(tiny_clip):
    method = create_method("coop", tiny_clip, CLASSES, ctx_init="a photo of dogs")
    found = nearest_words(method, count=2)
    assert [entry.words[0] for entry in found] == ["a", "photo", "of", "dogs"]
    assert all(entry.distances[0] < 1e-3 < entry.distances[1] for entry in found)
    assert usual_distance(tiny_clip) > 0.1


def test_class_specific_tokens_are_those_of_the_class(tiny_clip):
    method = create_method("coop", tiny_clip, CLASSES, n_ctx=1, class_specific=True)
    (dog,) = tiny_clip.tokenizer.words("dog")
    method.context.ctx.data[3, 0] = tiny_clip.embed_tokens(torch.tensor([dog]))[0]
    assert nearest_words(method, class_index=3)[0].words[0] == "dog"
    assert nearest_words(method, class_index=2)[0].words[0] != "dog"


def test_a_method_without_learnt_tokens_has_no_words(tiny_clip):
    assert nearest_words(create_method("clip_adapter", tiny_clip, CLASSES)) == []


class BrightCorner(adaptkit.AdaptedCLIP):
    """Its first class is the brightness of the upper left patch."""

    consumes = "images"

    def logits(self, x):
        bright = x[:, :, :8, :8].mean(dim=(1, 2, 3))
        return torch.stack([bright, torch.zeros_like(bright)], dim=1)

    def loss(self, x, labels):
        return torch.zeros(())


def test_the_map_is_hot_where_the_class_comes_from_and_zero_elsewhere(tiny_clip):
    method = BrightCorner(tiny_clip, adaptkit.ClassSet(("bright", "dark")))
    image = torch.ones(3, 32, 32)
    falls = relevance(method, image, 0)
    assert falls.shape == (4, 4)
    assert falls.argmax() == 0
    assert falls[3, 3] == 0
    assert relevance(method, image, 1)[0, 0] < 0, "what speaks for one class speaks against the other"
    drawn = np.asarray(draw_relevance(method, image, falls)).astype(int)
    assert drawn.shape == (448, 896, 3)
    assert drawn[10, 458, 0] > drawn[10, 458, 2] + 50, "red"
    assert torch.equal(image, torch.ones(3, 32, 32)), "the image is not written to"


def test_a_backbone_without_patches_is_refused_with_a_reason():
    method = create_method("zero_shot", build("modified_resnet"), CLASSES)
    with pytest.raises(ValueError, match="a map of patches needs an image tower with the blocks"):
        relevance(method, torch.zeros(3, 64, 64), 0)


def test_the_command_names_words_and_classes_and_draws_the_map(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backbone = adaptkit.load_backbone("adaptkit-mini")
    for name, options in (("coop", {"ctx_init": "a photo of a"}), ("linear_probe", {})):
        create_method(name, backbone, CLASSES, **options).save_pretrained(tmp_path / name)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    assert main(["explain", "coop", "photo.png", "--topk", "2", "--of", "ramen"]) == 0
    out = capsys.readouterr().out
    assert "token 2: photo 0.000" in out
    assert "what speaks for 'ramen' is red" in out
    assert Image.open("photo.map.png").size == (896, 448)
    assert main(["explain", "linear_probe", "photo.png", "--out", "other.png"]) == 0
    assert "learns no words of prompts" in capsys.readouterr().out
    assert main(["explain", "coop", "photo.png", "--of", "zork"]) == 2

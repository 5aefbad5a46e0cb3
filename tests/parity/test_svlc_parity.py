"""SVLC's losses and its negatives by rules against what its released code gave (SivanDoveh/TSVLC 90b18e7)."""

import json

import pytest
import torch

from adaptkit.objectives.svlc import (
    CaptionAugmenter,
    NegativeAwareLoss,
    images_with_negatives,
    place_negatives,
    present_kinds,
    released_negatives,
    words_in,
)
from tests.helpers.golden import FIXTURES, Golden, variants

LOSSES = [name for name in variants("svlc") if name.startswith("loss")]
NEGATIVES = [name for name in variants("svlc") if name.startswith("rb_")]
SWITCHES = ("symmetric", "kl_pos", "common_batch_pos", "no_neg_in_contrastive")


@pytest.mark.usefixtures("dtype")
@pytest.mark.parametrize("variant", LOSSES)
def test_losses_and_gradients_equal_the_released_code(variant):
    golden = Golden("svlc", variant)
    settings = golden.settings
    names = [name for name in golden.tensors if name.endswith("_features") and not name.startswith("grad/")]
    rows = {name: golden[name].clone().requires_grad_() for name in [*names, "log_scale"]}
    negatives = None
    if settings["vl_negs"]:
        found = images_with_negatives(golden["negative_tokens"])
        assert torch.equal(found, golden["images_with_negatives"])
        if "negative_features" in rows:
            negatives = place_negatives(rows["negative_features"], found, len(rows["image_features"]))
    criterion = NegativeAwareLoss(float(settings["neg_w"]), **{name: settings[name] for name in SWITCHES})
    losses = criterion(
        rows["image_features"],
        rows["caption_features"],
        rows["log_scale"].exp(),
        negatives,
        rows.get("positive_features"),
    )
    losses.total.backward()
    golden.check("loss", losses.total)
    golden.check("loss_neg", losses.negative)
    if "loss_pos" in golden:
        golden.check("loss_pos", losses.positive)
    for name, tensor in rows.items():
        golden.check(f"grad/{name}", tensor.grad)


@pytest.mark.parametrize("variant", NEGATIVES)
def test_negatives_by_rules_equal_the_released_code(variant):
    recorded = json.loads((FIXTURES / "svlc" / f"{variant}.json").read_text())
    lists, kinds, count = recorded["lists"], recorded["types"], recorded["num_negs"]
    assert recorded["items"]
    for item in recorded["items"]:
        caption = item["caption"]
        script = [item["drawn_type"]] if item["type_was_drawn"] else []
        script += [word for draw in item["draws"] for word in (draw["replacement"], draw["replaced"])]

        def choose(words, script=script):
            assert script[0] in words
            return script.pop(0)

        assert present_kinds(caption, lists, kinds) == item["types_present"]
        assert words_in(caption, lists[item["drawn_type"]]) == item["positives"]
        assert list(released_negatives(caption, lists, kinds, count, choose)) == item["negatives"]
        assert not script


@pytest.mark.parametrize("variant", NEGATIVES)
def test_the_augmenter_can_write_what_the_released_code_writes(variant):
    recorded = json.loads((FIXTURES / "svlc" / f"{variant}.json").read_text())
    lists, count = recorded["lists"], recorded["num_negs"]
    augment = CaptionAugmenter(lists, recorded["types"], count, strict=False, seed=3, with_rules=False)
    wanted = {(item["caption"], negative) for item in recorded["items"] for negative in item["negatives"][:1]}
    for epoch in range(300):
        written = {(caption, one) for caption, _ in wanted for one in augment(caption, epoch=epoch).negatives}
        wanted = wanted - written
    assert not wanted

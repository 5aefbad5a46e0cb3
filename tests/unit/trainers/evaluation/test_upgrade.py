"""Scores across two models: equal models, turned spaces, chance, gains and backfill."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit.features.xbt import procrustes
from trainers.evaluation.upgrade import (
    Rows,
    cross_scores,
    is_compatible,
    partly_encoded,
    update_gain,
    upgrade_report,
)
from trainers.pairs.upgrade.baselines import baseline_ways, slerp_weight, through

IMAGE_OF_TEXT = torch.arange(30).repeat_interleave(2)


def pairs(spread, seed=0, width=12):
    """Thirty images with two texts each, which lie around the same things."""
    generator = torch.Generator().manual_seed(seed)
    things = torch.randn(30, width, generator=torch.Generator().manual_seed(99))
    images = things + spread / 2 * torch.randn(30, width, generator=generator)
    texts = things[IMAGE_OF_TEXT] + spread * torch.randn(60, width, generator=generator)
    return Rows(images, texts)


def rotation(width=12):
    return torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(1))).Q


def recalls(scores):
    return [*scores.text_to_image.recall.values(), *scores.image_to_text.recall.values()]


def test_of_one_model_twice_all_matrices_agree():
    rows = pairs(1.0)
    report = upgrade_report(
        rows, rows, {"map": through(rows, procrustes(rows.texts, rows.texts))}, IMAGE_OF_TEXT, "map"
    )
    own = recalls(report.plain["old/old"])
    assert all(recalls(scores) == own for scores in report.plain.values())
    assert recalls(report.ways["map"].scores) == own
    assert all(recalls(scores) == own for scores in report.backfill.values())
    assert not report.ways["map"].compatible
    assert set(report.ways["map"].gain["text_to_image"].values()) == {None}


def test_a_turned_space_is_recovered_exactly_and_finds_nothing_without_a_map():
    new = pairs(1.0)
    old = Rows(new.images @ rotation(), new.texts @ rotation())
    mapped = through(new, procrustes(new.texts, old.texts))
    report = upgrade_report(old, new, {"map": mapped}, IMAGE_OF_TEXT, "map")
    assert recalls(report.ways["map"].scores) == recalls(report.plain["old/old"])
    assert report.plain["old/new"].rsum < report.plain["old/old"].rsum / 2


def test_a_better_model_is_compatible_and_gains_all_in_the_same_space():
    old, new = pairs(2.0), pairs(0.2)
    report = upgrade_report(old, new, {"same": new}, IMAGE_OF_TEXT, "same")
    assert report.ways["same"].compatible
    assert report.ways["same"].scores.rsum > report.plain["old/old"].rsum
    assert recalls(report.backfill[1.0]) == recalls(report.plain["new/new"])
    assert report.backfill[0.0] == report.ways["same"].scores


def test_the_gain_is_the_share_of_what_the_new_model_gains():
    old, new = pairs(2.0), pairs(0.2)
    low, high = cross_scores(old, old, IMAGE_OF_TEXT), cross_scores(new, new, IMAGE_OF_TEXT)
    assert set(update_gain(high, low, high, "text_to_image").values()) == {1.0}
    assert update_gain(low, low, high, "image_to_text") == {1: 0.0, 5: 0.0, 10: 0.0}
    assert not is_compatible(low, low)


def test_chunks_change_nothing_and_brute_force_agrees():
    queries, gallery = pairs(1.5, 3), pairs(1.5, 4)
    whole = cross_scores(queries, gallery, IMAGE_OF_TEXT)
    assert cross_scores(queries, gallery, IMAGE_OF_TEXT, chunk=7) == whole
    cosines = F.normalize(queries.images.double(), dim=-1) @ F.normalize(gallery.texts.double(), dim=-1).T
    hits = [IMAGE_OF_TEXT[cosines[place].topk(5).indices].eq(place).any() for place in range(30)]
    assert whole.image_to_text.recall[5] == pytest.approx(100 * sum(map(float, hits)) / 30)
    cosines = F.normalize(queries.texts.double(), dim=-1) @ F.normalize(gallery.images.double(), dim=-1).T
    first = (cosines.argmax(1) == IMAGE_OF_TEXT).double().mean()
    assert whole.text_to_image.recall[1] == pytest.approx(100 * float(first))


def test_a_share_of_the_gallery_is_replaced():
    old, new = pairs(1.0), Rows(torch.ones(30, 12), torch.ones(60, 12))
    mixed = partly_encoded(old, new, 0.5, seed=3)
    assert int((mixed.images == F.normalize(new.images, dim=-1)).all(1).sum()) == 15
    assert int((mixed.texts == F.normalize(new.texts, dim=-1)).all(1).sum()) == 30
    with pytest.raises(ValueError, match=r"share=1\.5; expected 0"):
        partly_encoded(old, new, 1.5, seed=3)


def test_widths_may_differ():
    old, new = pairs(1.0), pairs(1.0, width=20)
    mapped = through(new, procrustes(new.texts, old.texts))
    assert upgrade_report(old, new, {"map": mapped}, IMAGE_OF_TEXT, "map").plain["old/new"].rsum >= 0


def test_slerp_takes_the_weight_of_the_better_query_and_every_baseline_is_there():
    old, new = pairs(2.0), pairs(0.1)
    assert slerp_weight(old, old, IMAGE_OF_TEXT) == 0.0
    assert slerp_weight(old, new, IMAGE_OF_TEXT) > 0.3
    parts = ("train", "val", "test")
    ways, weights = baseline_ways(dict.fromkeys(parts, old), dict.fromkeys(parts, new), IMAGE_OF_TEXT)
    assert len(ways) == 9
    assert sorted(weights) == [f"SLERP with Procrustes, {of}" for of in ("both", "images", "texts")]

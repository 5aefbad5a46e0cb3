"""MMVP and SugarCrepe++ against numbers recorded from their released codes (tsb0601/MMVP 7635005, scpp c083bbf)."""

import pytest
import torch

from tests.helpers.golden import Golden, variants
from trainers.evaluation.pair_tests.mmvp import mmvp_scores
from trainers.evaluation.pair_tests.sugarcrepe import sugarcrepe_scores

pytestmark = pytest.mark.usefixtures("dtype")

NAMES = variants("diagnostics")


@pytest.mark.parametrize("variant", [name for name in NAMES if name.startswith("mmvp")])
def test_mmvp_is_scored_as_by_the_released_code(variant):
    golden = Golden("diagnostics", variant)
    scores = mmvp_scores(golden["image_features"], golden["text_features"])
    for name in ("probabilities", "pattern_score", "mean_score"):
        golden.check(name, getattr(scores, name))
    assert torch.equal(scores.picks_image1, golden["picks_image1"])
    assert torch.equal(scores.pair_correct, golden["pair_correct"])


@pytest.mark.parametrize("variant", [name for name in NAMES if name.startswith("sugarcrepe")])
def test_sugarcrepe_is_scored_as_by_the_released_code(variant):
    golden = Golden("diagnostics", variant)
    scores = sugarcrepe_scores(*(golden[name] for name in ("image", "caption", "caption2", "negative")))
    for name, share in scores.items():
        golden.check(name, torch.tensor(share))

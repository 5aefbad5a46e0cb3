"""ZERO and MTA against numbers recorded from their released codes.

FarinaMatteo/zero c609f7c and MaxZanella/MTA cafafdf.
"""

import copy
import math

import pytest
import torch

from adaptkit import create_method
from adaptkit.contract.test_time import Seen
from adaptkit.test_time.entropy import entropies
from adaptkit.test_time.mta import affinities, bandwidths, robust_mode
from adaptkit.test_time.zero import vote
from tests.helpers.golden import Golden, tiny_backbone, variants

pytestmark = pytest.mark.usefixtures("dtype")
SCALE = 100
VOTES = [name for name in variants("zero_mta") if name.startswith("zero")]
MODES = [name for name in variants("zero_mta") if name.startswith("mta")]


def seen(golden):
    """The recorded features of views, and their logits."""
    views = golden["draw/view_features"]
    return Seen(views, SCALE * views @ golden["draw/text_features"].T)


def build(name, golden, golden_folder, monkeypatch, **options):
    """The method on recorded class weights in the place of those of the classes' names."""
    backbone = copy.deepcopy(tiny_backbone("vit", golden_folder))
    backbone.logit_scale.data.fill_(math.log(SCALE))
    method = create_method(name, backbone, [f"class {c}" for c in range(golden.settings["n_classes"])], **options)
    monkeypatch.setattr(method.inner, "current_class_weights", lambda: golden["draw/text_features"])
    return method.eval()


@pytest.mark.parametrize("variant", VOTES)
def test_votes_equal_the_released_code(variant):
    golden = Golden("zero_mta", variant)
    logits = seen(golden).logits
    ballot = vote(logits, tie="code")
    golden.check("entropy", entropies(logits))
    for name, found in (
        ("order", ballot.order),
        ("votes", ballot.votes),
        ("path", ballot.decided_by),
        ("prediction", ballot.winner),
    ):
        assert torch.equal(found, golden[name]), name


@pytest.mark.parametrize("variant", VOTES)
def test_zero_answers_as_the_released_code(variant, golden_folder, monkeypatch):
    golden = Golden("zero_mta", variant)
    method = build("zero", golden, golden_folder, monkeypatch, tie="code")
    assert torch.equal(method.logits_of_views(seen(golden)).argmax(dim=1), golden["prediction"])


@pytest.mark.parametrize("variant", MODES)
def test_modes_equal_the_released_code(variant):
    golden = Golden("zero_mta", variant)
    views, settings = seen(golden), golden.settings
    golden.check("bandwidth", bandwidths(views.features))
    golden.check("affinity", affinities(views.logits))
    mode, y = robust_mode(views.features, views.logits, settings["lambda_y"], settings["lambda_q"])
    golden.check("mode", mode)
    golden.check("y", y)
    output = SCALE * mode @ golden["draw/text_features"].T
    golden.check("output", output)
    assert torch.equal(output.argmax(dim=1), golden["prediction"])


@pytest.mark.parametrize("variant", MODES)
def test_mta_answers_as_the_released_code(variant, golden_folder, monkeypatch):
    golden = Golden("zero_mta", variant)
    options = {name: golden.settings[name] for name in ("lambda_y", "lambda_q")}
    method = build("mta", golden, golden_folder, monkeypatch, **options)
    with torch.no_grad():
        golden.check("output", method.logits_of_views(seen(golden)))

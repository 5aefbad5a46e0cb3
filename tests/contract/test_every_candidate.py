"""What configs/auto.yaml promises: every candidate exists, can be made on the embedded model, and trains a little."""

import pytest

from adaptkit import list_methods, load_backbone, method_class
from datasets_fewshot import FeatureStore
from tests.helpers.fitting import asked
from tests.helpers.synthetic import NAMES
from trainers.config.load import load_bench
from trainers.config.values import ConfigError
from trainers.feeding.encoder import ImageEncoder
from trainers.fit.auto.contenders import make_contenders
from trainers.fit.auto.portfolio import TIERS, read_portfolio
from trainers.fit.own_data import own_settings
from trainers.runs.data import Bench

PORTFOLIO = read_portfolio()
CANDIDATES = [pytest.param(one, id=one.label) for one in PORTFOLIO.candidates]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    backbone = load_backbone("adaptkit-mini")
    return Bench(backbone, ImageEncoder(backbone, FeatureStore(folder), "fp32"), "fp32", "own", folder)


def settings(shots=16):
    return own_settings(asked("auto", "photos", device="cpu")) | {"SHOTS": [shots]}


def made(candidate, bench, **changed):
    given = {"candidates": [candidate], "overrides": (), "embedded": True, "images": 64} | changed
    contenders, left_out = make_contenders(given=settings(), bench=bench, classnames=NAMES, **given)
    assert not left_out
    return contenders[0]


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_every_candidate_can_be_made_and_knows_its_length(candidate, bench):
    one = made(candidate, bench)
    assert (one.full > 0) == (candidate.length is not None)
    config = one.config(7)
    if candidate.length == "OPTIM.STEPS":
        assert config.optim.steps == 7
        assert config.optim.lr_scheduler == "cosine_steps"
        assert config.optim.warmup_epochs == 0
    if one.consumes != "images":
        assert config.views.augment == "none"
    if candidate.length:
        assert one.config(7) != one.config(8)
    assert method_class(candidate.method)


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_the_words_of_the_refit_are_the_settings_of_the_search(candidate, bench):
    one = made(candidate, bench)
    refit = load_bench(None, one.words(), {**settings(), "METHODS": ["zero_shot", candidate.method]}).runs[-1]
    found = one.config(one.full)
    assert (refit.options, refit.optim, refit.views) == (found.options, found.optim, found.views)


def test_candidates_are_in_the_order_of_cost_and_different():
    tiers = [TIERS.index(one.tier) for one in PORTFOLIO.candidates]
    assert tiers == sorted(tiers)
    assert len({one.label for one in PORTFOLIO.candidates}) == len(PORTFOLIO.candidates)
    assert set(PORTFOLIO.prior) <= {one.method for one in PORTFOLIO.candidates}


def test_what_the_packaged_settings_say_holds_for_other_backbones(bench):
    for candidate in PORTFOLIO.candidates:
        if candidate.method in ("coop", "prograd"):  # whose 16 tokens are more than the embedded model has room for
            continue
        assert made(candidate, bench, embedded=False).candidate.method == candidate.method


def test_named_methods_are_taken_by_their_recipes():
    named = PORTFOLIO.named(["maple", "cocoop", "taskres"])
    assert {one.method for one in named.candidates} == {"maple", "cocoop", "taskres"}
    assert [one.tier for one in named.candidates] == sorted((one.tier for one in named.candidates), key=TIERS.index)
    assert named.prior == ("taskres",)


def test_every_method_can_be_named():
    for name in list_methods():
        if name != "zero_shot":
            assert PORTFOLIO.named([name]).candidates


@pytest.mark.parametrize(("names", "message"), [(["zero_shot"], "zero_shot alone"), (["coOp"], "coop")])
def test_names_that_give_no_search_are_refused(names, message):
    with pytest.raises(ConfigError, match=message):
        PORTFOLIO.named(names)

"""TransCLIP against numbers recorded from its released code (MaxZanella/transduction-for-vlms 6a9e8f3)."""

import pytest
import torch

from adaptkit import Support
from adaptkit.test_time.transclip import Transduction, nearest, nearest_of_all
from tests.helpers.golden import Golden, variants

pytestmark = pytest.mark.usefixtures("dtype")

VARIANTS = variants("transclip")
SHOTS = [variant for variant in VARIANTS if Golden("transclip", variant).settings["shots"]]
NO_SHOTS = [variant for variant in VARIANTS if variant not in SHOTS]


def log_y(golden):
    if "draw/initial_predictions" in golden:
        return golden["draw/initial_predictions"].log()
    return (100 * golden["draw/query_features"] @ golden["draw/clip_prototypes"]).log_softmax(dim=1)


def shots(golden):
    return Support(golden["draw/support_features"], golden["draw/support_labels"])


def build(golden):
    """As released: with given predictions, y and z are one tensor; with shots, W and z are stacked in two orders."""
    given = "draw/initial_predictions" in golden
    return Transduction(
        golden["draw/query_features"],
        log_y(golden),
        shots(golden) if golden.settings["shots"] else None,
        kl_weight=golden.settings["lambda_"],
        stacking="code",
        alias="code" if given else "kept",
    )


def check_one_gamma(golden, transduction, gamma=0.0, prefix=""):
    golden.check(f"{prefix}g1", transduction.scores())
    transduction.iterate(gamma)
    golden.check(f"{prefix}z1", transduction.log_z.exp())
    golden.check(f"{prefix}mu1", transduction.means)
    golden.check(f"{prefix}sigma2_1", transduction.variances)
    log_z = transduction.solve(gamma, iterations=9)
    golden.check(f"{prefix}mu", transduction.means)
    golden.check(f"{prefix}sigma2", transduction.variances)
    golden.check(f"{prefix}z", log_z.exp())
    assert torch.equal(log_z.argmax(dim=1), golden[f"{prefix}prediction"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_affinity_equals_the_released_one(variant):
    golden = Golden("transclip", variant)
    queries = golden["draw/query_features"]
    rows = nearest(queries, queries, of_queries=True).sparse().to_dense()
    if golden.settings["shots"]:
        rows = torch.cat([nearest(shots(golden).x, queries, of_queries=False).sparse().to_dense(), rows])
    golden.check("W", rows)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_starts_where_the_released_code_does(variant):
    golden = Golden("transclip", variant)
    transduction = build(golden)
    golden.check("y_hat", transduction.z)
    golden.check("mu_init", transduction.means)


@pytest.mark.parametrize("variant", NO_SHOTS)
def test_without_shots_it_equals_the_released_code(variant):
    golden = Golden("transclip", variant)
    transduction = build(golden)
    check_one_gamma(golden, transduction)
    golden.check("returned_z", transduction.z)
    if "y_hat_at_end" in golden:
        golden.check("y_hat_at_end", transduction.z)


@pytest.mark.parametrize("variant", SHOTS)
def test_with_shots_every_gamma_goes_on_where_the_last_ended(variant):
    golden = Golden("transclip", variant)
    transduction = build(golden)
    for gamma in golden.settings["gammas"]:
        check_one_gamma(golden, transduction, gamma, f"gamma{gamma}/")
    golden.check("returned_z", transduction.z)


@pytest.mark.parametrize("variant", SHOTS)
def test_gamma_is_chosen_by_the_images_nearest_to_validation_images(variant):
    golden = Golden("transclip", variant)
    validation = Support(golden["draw/val_features"], golden["draw/val_labels"])
    assert torch.equal(nearest_of_all(validation.x, golden["draw/query_features"]), golden["neighbour"])
    transduction = build(golden)
    choice = transduction.search(golden.settings["gammas"], validation)
    assert choice.accuracies == pytest.approx(golden["val_accuracy"].tolist())
    right = choice.log_z.argmax(dim=1) == golden["draw/query_labels"]
    assert 100 * float(right.double().mean()) == pytest.approx(float(golden["accuracy"]))
    golden.check(f"gamma{choice.gamma}/z", choice.log_z.exp())
    golden.check("returned_z", transduction.log_z.exp())

"""Post-hoc debiasing against numbers recorded from the released code (yfzhang114/LLaVA-Align dfbecfa)."""

import pytest
import torch

from adaptkit.wrappers.posthoc_debias.equations import (
    answer_prior,
    calibrated,
    contrast,
    contrasted,
    diag,
    ece_as_released,
    normalised,
)
from tests.helpers.golden import Golden, variants

pytestmark = pytest.mark.usefixtures("dtype")
FOLDER = "posthoc_debias"
CALIBRATED = [name for name in variants(FOLDER) if "names" in Golden(FOLDER, name).settings]
CONTRASTED = [name for name in variants(FOLDER) if "alpha" in Golden(FOLDER, name).settings]
SOURCES = {"all": ("none", "unk", "noise", "zero")}  # other names are the sources' own, joined


def check_answers(golden, name, q):
    """Compare calibrated answers (N, C) and what the released script counts of them."""
    labels = golden["labels"]
    golden.check(f"q/{name}", q)
    golden.check(f"prediction/{name}", q.argmax(dim=-1))
    golden.check(f"accuracy/{name}", (q.argmax(dim=-1) == labels).to(q).mean())


@pytest.mark.parametrize("variant", CALIBRATED)
def test_calibrated_answers_equal_the_released_script(variant):
    golden = Golden(FOLDER, variant)
    p = golden["prob/naive"]
    for name in golden.settings["names"]:
        if name == "naive":
            q = normalised(p)
        else:
            sources = [golden[f"prob/{source}"] for source in SOURCES.get(name, name.split("_"))]
            prior = answer_prior(sources, golden.settings["scope"])
            q = calibrated(p, prior, golden.settings["mode"])
        check_answers(golden, name, q)
        golden.check(f"mean_confidence/{name}", q.max(dim=-1).values.mean())
        golden.check(f"yes_share/{name}", (q.argmax(dim=-1) == 0).to(q).mean())


def test_several_choices_with_a_given_prior_equal_the_released_script():
    golden = Golden(FOLDER, "multi_choice_C4")
    p, prior = golden["probs"], golden["p_cf"]
    check_answers(golden, "none", normalised(p))
    for mode in ("diagonal_W", "identity_W"):
        check_answers(golden, mode, calibrated(p, prior, mode))
    golden.check("ece_as_released", ece_as_released(p, golden["labels"], golden.settings["bins"]))


@pytest.mark.parametrize("variant", CONTRASTED)
def test_contrasted_logits_equal_the_released_sampler(variant):
    golden = Golden(FOLDER, variant)
    absent = [golden[f"logits_{kind}"] for kind in ("none", "unk") if golden.settings[kind]]
    alpha, beta = golden.settings["alpha"], golden.settings["beta"]
    found = contrasted(golden["logits"], absent, alpha, beta)
    golden.check("contrast_logits", found)
    golden.check("probs", found.softmax(dim=-1))
    # Ours differs in how far the classes that are left out lie below, and in nothing else.
    ours = contrast(golden["logits"], torch.cat(absent), alpha, beta)
    assert torch.equal(ours[found.isfinite()], found[found.isfinite()])
    golden.check("probs", ours.softmax(dim=-1))


def test_diag_on_logits_equals_the_released_division_of_probabilities():
    golden = Golden(FOLDER, "diagonal_individual")
    p, absent = golden["prob/naive"], normalised(golden["prob/none"])
    for answer, prior, expected in zip(p, absent, golden["q/none"], strict=True):
        found = diag(answer.log()[None], prior).softmax(dim=-1)[0]
        torch.testing.assert_close(found, expected.to(found), rtol=0, atol=golden.tolerance("q/none") + 1e-12)

"""OOD distillation against numbers recorded from its released code (xuanlinli17/large_vlm_distillation_ood 8715681)."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adaptkit.weights.ood_distill import (
    DistillationLossConfig,
    distillation_terms,
    retrieval_logits,
    zero_shot_logits,
)
from tests.helpers.golden import Golden, variants
from trainers.evaluation.students import mean_per_class_accuracy

pytestmark = pytest.mark.usefixtures("dtype")
ONE_STEP = [name for name in variants("ood_distill") if not name.startswith(("eval_", "train_"))]
TEXT_TERMS = ("cls", "vlalign", "cap")


def config_of(settings):
    """The released switches as our weights: L_vlalign and L_cap exist only beside L_cls there."""
    text = settings["L_cls"]
    return DistillationLossConfig(
        cls=float(text and not settings["text_only"]),
        mse=float(settings["L_mse"] or settings["L_mse_unnorm"]),
        im_cst=float(settings["L_im_cst"]),
        vlalign=float(text and settings["k"] > 0),
        cap=float(text and settings["L_cap"]),
        tau=settings["tau"],
        mse_form="raw" if settings["L_mse_unnorm"] else "unit",
        im_cst_form=settings["mode"],
        k=max(settings["k"], 1),
        filter=settings["filter"],
        cap_scale="none",
    )


@pytest.mark.parametrize("variant", ONE_STEP)
def test_losses_equal_the_released_code(variant):
    golden = Golden("ood_distill", variant)
    settings, texts, labels = golden.settings, golden["text_features"], golden["labels"]
    student = golden["student_features"].requires_grad_()
    captions = golden["caption_features"] if settings["L_cap"] else None
    terms = distillation_terms(student, golden["teacher_features"], texts, labels, config_of(settings), captions)
    total = sum(terms.values())
    total.backward()
    golden.check("loss_total", total)
    golden.check("grad/student_features", student.grad)
    if "loss_text" in golden:
        golden.check("loss_text", sum(terms[name] for name in TEXT_TERMS if name in terms))
    for recorded, name in (("loss_mse", "mse"), ("loss_im_cst", "im_cst")):
        assert (recorded in golden) == (name in terms)
        if recorded in golden:
            golden.check(recorded, terms[name])
    logits = zero_shot_logits(student, texts, settings["tau"] if settings["L_cls"] else 1.0)
    golden.check("logits", logits)
    golden.check("accuracy_mean_per_class", torch.tensor(mean_per_class_accuracy(logits, labels)))


def test_five_steps_equal_the_released_code():
    golden = Golden("ood_distill", "train_sgd_5steps")
    student = nn.Linear(10, 12)
    student.load_state_dict({name: golden[f"init/{name}"] for name in ("weight", "bias")})
    optimizer = torch.optim.SGD(student.parameters(), lr=golden.settings["lr"], momentum=0.9, weight_decay=1e-4)
    config, losses = config_of(golden.settings), []
    for step in range(5):
        terms = distillation_terms(
            student(golden["inputs"][step]),
            golden["teacher_features"][step],
            golden["text_features"],
            golden["labels"][step],
            config,
        )
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.detach())
        if step == 0:
            for name, parameter in student.named_parameters():
                golden.check(f"grad/{name}", parameter.grad)
        optimizer.step()
        if step + 1 in (1, 5):
            for name, parameter in student.named_parameters():
                golden.check_trained(f"step{step + 1}/{name}", parameter)
    golden.check_trained("losses", torch.stack(losses))
    with torch.no_grad():
        features = student(golden["inputs"][0])
    golden.check_trained("eval_logits", zero_shot_logits(features, golden["new_text_features"], tau=1.0))


@pytest.mark.parametrize("variant", ["eval_zeroshot", "eval_retrieval"])
def test_answers_equal_the_released_code(variant):
    golden = Golden("ood_distill", variant)
    student, texts = golden["student_features"], golden["text_features"]
    if golden.settings["retrieval"]:
        logits = retrieval_logits(student, texts, golden["keys"])
    else:
        logits = zero_shot_logits(student, texts, golden.settings["tau"])
    golden.check("logits", logits)
    golden.check("loss", F.cross_entropy(logits, golden["labels"]))
    accuracy = mean_per_class_accuracy(logits, golden["labels"])
    golden.check("accuracy_mean_per_class", torch.tensor(accuracy))

"""ProGrad against numbers recorded from its released code (BeierZhu/Prompt-align 1b76203)."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_method
from tests.helpers.golden import Golden, tiny_backbone, variants
from tests.parity.steps import batches_for, check_gradients, check_steps, load_initial
from trainers.config.training import OptimConfig
from trainers.training.optim import build_optimizer

pytestmark = pytest.mark.usefixtures("dtype")

LEARNT = {"context.ctx": "ctx"}


def build(golden, golden_folder):
    settings = golden.settings
    method = create_method(
        "prograd",
        tiny_backbone(settings["clip"], golden_folder),
        settings["classes"],
        template=settings["template"],
        n_ctx=settings["n_ctx"],
        words_init=settings["ctx_init"],
        temperature=settings["T"],
        strength=settings["LAMBDA"],
        class_specific=settings["csc"],
        class_token_position=settings["class_token_position"],
    )
    if settings["ctx_init"]:
        golden.check("init/ctx", method.context.ctx)
    load_initial(golden, method, LEARNT)
    return method


@pytest.mark.parametrize("variant", variants("prograd"))
def test_prograd_equals_the_released_code(variant, golden_folder):
    golden = Golden("prograd", variant)
    method = build(golden, golden_folder)
    batches = batches_for(method)
    features, labels = batches(0)
    golden.check("image_features", features)
    golden.check("text_features", method.context())
    golden.check("logits", method.logits(features))
    golden.check("zs_logits", method.backbone.logits(features, method.zero_shot_weights))
    golden.check("loss0/xe_loss", method.loss(features, labels))
    golden.check("loss0/kl_loss", method.zero_shot_divergence(features, method.logits(features)))
    check_gradients(golden, method, LEARNT, batches)
    check_steps(golden, method, LEARNT, batches, loss="xe_loss")
    golden.check_trained("step5/loss_batch0/kl_loss", method.zero_shot_divergence(features, method.logits(features)))


@pytest.mark.parametrize("variant", variants("prograd"))
def test_both_gradients_equal_the_released_code_in_every_step(variant, golden_folder):
    golden = Golden("prograd", variant)
    method = build(golden, golden_folder)
    batches = batches_for(method)
    optim = golden.settings["optim"]
    config = OptimConfig(
        lr=optim["LR"], momentum=optim["MOMENTUM"], weight_decay=optim["WEIGHT_DECAY"], warmup_epochs=0
    )
    optimizer = build_optimizer(method.learnt_parameters().values(), config)
    domains, generals, divergences = [], [], []
    for step in range(5):
        features, labels = batches(step)
        with torch.no_grad():
            divergences.append(method.zero_shot_divergence(features, method.logits(features)))
        _, domain, general = method.gradients(features, labels)
        domains.append(domain["context.ctx"])
        generals.append(general["context.ctx"])
        optimizer.zero_grad()
        method.backward(features, labels)
        optimizer.step()
        if step == 0:
            first_features, _ = batches(0)
            divergence = method.zero_shot_divergence(first_features, method.logits(first_features))
            golden.check_trained("step1/loss_batch0/kl_loss", divergence)
    domain, general = torch.stack(domains), torch.stack(generals)
    cosines = F.cosine_similarity(domain.flatten(1).double(), general.flatten(1).double())
    golden.check("grad_xe/ctx", domain[0])
    golden.check("grad_kl/ctx", general[0])
    golden.check_trained("grad_xe_steps/ctx", domain)
    golden.check_trained("grad_kl_steps/ctx", general)
    golden.check_trained("cosine_per_step", cosines)
    golden.check_trained("train_losses/kl_loss", torch.stack(divergences))
    assert (cosines < 0).nonzero()[:, 0].tolist() == golden.settings["projected_steps"]

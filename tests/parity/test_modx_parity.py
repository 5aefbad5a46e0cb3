"""Mod-X against numbers recorded from its released code (ZixuanNi/Mod-X a6a2f6c)."""

import pytest
import torch
import torch.nn.functional as F

import adaptkit
from adaptkit.objectives.modx import (
    ModXConfig,
    clamp_logit_scale,
    gated_rows,
    gated_target,
    modx_loss,
    recorded_optimizer,
)
from tests.helpers.golden import Golden, variants
from tests.helpers.models import build

pytestmark = pytest.mark.usefixtures("dtype")
STEPS = "train_adamw_5steps"
LOSSES = [name for name in variants("modx") if name != STEPS]
NAMES = ("image_features", "text_features")


def inputs(golden):
    learnt = {name: golden[name].clone().requires_grad_() for name in (*NAMES, "logit_scale")}
    return learnt, [golden[f"{name}_old"] for name in NAMES]


@pytest.mark.parametrize("variant", LOSSES)
def test_losses_gates_and_gradients_equal_the_released_code(variant):
    golden = Golden("modx", variant)
    learnt, old = inputs(golden)
    loss = modx_loss(*(learnt[name] for name in NAMES), *old, learnt["logit_scale"], alpha=golden.settings["alpha"])
    golden.check("loss", loss.total)
    golden.check("loss_nce", loss.nce)
    golden.check("loss_align", loss.align.loss)
    golden.check("kl_image", loss.align.image)
    golden.check("kl_text", loss.align.text)
    assert torch.equal(loss.align.gated_image_rows, golden["gated_image_rows"])
    assert torch.equal(loss.align.gated_text_rows, golden["gated_text_rows"])
    gradients = torch.autograd.grad(loss.align.loss, [learnt[name] for name in NAMES], retain_graph=True)
    for name, gradient in zip(NAMES, gradients, strict=True):
        golden.check(f"grad_align/{name}", gradient)
    loss.total.backward()
    for name, tensor in learnt.items():
        golden.check(f"grad/{name}", tensor.grad)


@pytest.mark.parametrize("variant", LOSSES)
def test_the_gated_targets_equal_the_released_code(variant):
    golden = Golden("modx", variant)
    images, texts, images_old, texts_old = (
        F.normalize(golden[name], dim=-1) for name in (*NAMES, *(f"{name}_old" for name in NAMES))
    )
    current, old = images @ texts.T, images_old @ texts_old.T
    golden.check("target_image", gated_target(current, old, gated_rows(old)))
    golden.check("target_text", gated_target(current.T, old.T, gated_rows(old.T)))


@pytest.mark.parametrize("variant", LOSSES)
def test_the_objective_has_the_released_loss_as_options(variant):
    golden = Golden("modx", variant)
    learnt, old = inputs(golden)
    method = adaptkit.create_method("clip_lora", build("clip_vit", torch.get_default_dtype()), None)
    released = ModXConfig(alpha=golden.settings["alpha"], reduction="sum", gate="own", scale="learnt")
    objective = adaptkit.create_objective(method, [("modx", released)])
    with torch.no_grad():
        objective.log_scale.copy_(golden["logit_scale"])
    images, texts = (torch.stack((learnt[name], then), dim=1) for name, then in zip(NAMES, old, strict=True))
    loss = objective.between(images, texts, torch.arange(len(images)))
    loss.backward()
    golden.check("loss", loss)
    golden.check("grad/logit_scale", objective.log_scale.grad)
    for name in NAMES:
        golden.check(f"grad/{name}", learnt[name].grad)


def test_five_steps_equal_the_released_code():
    golden = Golden("modx", STEPS)
    learnt = {name: golden[f"init/{name}"].clone().requires_grad_() for name in ("wi", "wt", "logit_scale")}
    optimizer, losses = recorded_optimizer(learnt.values(), golden.settings["lr"]), []
    for step in range(5):
        images, texts = golden["images"][step], golden["texts"][step]
        now, then = (
            (images @ learnt["wi"].T, texts @ learnt["wt"].T),
            (images @ golden["old/wi"].T, texts @ golden["old/wt"].T),
        )
        loss = modx_loss(*now, *then, learnt["logit_scale"], alpha=golden.settings["alpha"]).total
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.detach())
        if step == 0:
            for name, tensor in learnt.items():
                golden.check(f"grad/{name}", tensor.grad)
        optimizer.step()
        clamp_logit_scale(learnt["logit_scale"])
        if step + 1 in (1, 5):
            for name, tensor in learnt.items():
                golden.check_trained(f"step{step + 1}/{name}", tensor)
    golden.check_trained("losses", torch.stack(losses))

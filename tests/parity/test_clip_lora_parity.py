"""CLIP-LoRA against numbers recorded from its released code (MaxZanella/CLIP-LoRA 358f0d7)."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adaptkit import create_method
from tests.helpers.golden import Golden, batch, tiny_backbone, variants

pytestmark = pytest.mark.usefixtures("dtype")


def build(golden, golden_folder, gradients="released"):
    settings = golden.settings
    method = create_method(
        "clip_lora",
        tiny_backbone(settings["clip"], golden_folder),
        settings["classes"],
        r=settings["r"],
        alpha=settings["alpha"],
        dropout=settings["dropout_rate"],
        params=tuple(settings["params"]),
        encoder=settings["encoder"],
        gradients=gradients,
    )
    with torch.no_grad():
        for name, parameter in method.learnt_parameters().items():
            parameter.copy_(golden[f"init/{released_name(name)}"])
    return method


def released_name(name):
    """text_updates.3.q.A -> transformer.resblocks.3.attn.q_proj.w_lora_A."""
    tower, layer, projection, matrix = name.split(".")
    prefix = {"text_updates": "", "vision_updates": "visual."}[tower]
    return f"{prefix}transformer.resblocks.{layer}.attn.{projection}_proj.w_lora_{matrix}"


class StoredDropout(nn.Module):
    """Dropout with recorded keep-masks (L, N, width), one per call; a call on the first rows only takes theirs."""

    def __init__(self, masks, rate):
        super().__init__()
        self.masks, self.rate = iter(masks), rate

    def forward(self, x):
        return x * next(self.masks).transpose(0, 1)[:, : x.shape[1]] / (1 - self.rate)


def updates_in_forward_order(method):
    return [update for layer in method.vision_updates.values() for update in layer.values()]


def prepare_dropout(golden, method):
    stored = sorted(name for name in golden.tensors if name.startswith("dropout_mask/"))
    updates = updates_in_forward_order(method) if stored else []
    for index, update in enumerate(updates):
        masks = [golden[name] for name in stored[index :: len(updates)]]
        update.dropout = StoredDropout(masks, golden.settings["dropout_rate"])


@pytest.mark.parametrize("variant", variants("clip_lora"))
def test_clip_lora_equals_the_released_code(variant, golden_folder):
    golden = Golden("clip_lora", variant)
    method = build(golden, golden_folder)
    images = [batch(step)[0] for step in range(5)]
    method.eval()
    golden.check("init/image_features", method.backbone.encode_image(images[0]))
    golden.check("init/text_features", method.backbone.encode_text(golden.settings["texts"]))
    for name in ("init/logits_unmerged", "init/logits_merged"):
        if name in golden:
            golden.check(name, method(images[0]))

    method.train()
    prepare_dropout(golden, method)
    optim = golden.settings["optim"]
    optimizer = torch.optim.AdamW(
        method.learnt_parameters().values(),
        lr=optim["LR"],
        betas=optim["BETAS"],
        eps=optim["EPS"],
        weight_decay=optim["WEIGHT_DECAY"],
    )
    steps = len(golden["train_losses/loss"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=1e-6)
    losses, rates = [], []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        if step == 0:
            logits = method.logits(images[0])
            golden.check("train_logits_step1", logits)
            losses.append(F.cross_entropy(logits, batch(0)[1]))
            losses[0].backward()
        else:
            losses.append(method.backward(images[step], batch(step)[1]))
        for name, parameter in method.learnt_parameters().items():
            if step == 0 and f"grad/{released_name(name)}" in golden:
                golden.check(f"grad/{released_name(name)}", parameter.grad)
            if f"grad_step{step + 1}/{released_name(name)}" in golden:
                golden.check_trained(f"grad_step{step + 1}/{released_name(name)}", parameter.grad)
        optimizer.step()
        schedule.step()
        for name, parameter in method.learnt_parameters().items():
            if f"step{step + 1}/{released_name(name)}" in golden:
                golden.check_trained(f"step{step + 1}/{released_name(name)}", parameter)
    golden.check_trained("train_losses/loss", torch.stack([loss.detach() for loss in losses]))
    golden.check("lr_per_step", torch.tensor(rates, dtype=torch.float64))

    method.eval()
    for name, ours in (
        ("final/image_features", lambda: method.backbone.encode_image(images[0])),
        ("final/text_features", lambda: method.backbone.encode_text(golden.settings["texts"])),
        ("final/logits_unmerged", lambda: method(images[0])),
    ):
        if name in golden:
            golden.check_trained(name, ours())
    method.merge()
    golden.check_trained("final/logits_merged", method(images[0]))
    for prefix, tower in (("", method.backbone.text_tower), ("visual.", method.backbone.vision_tower)):
        name = f"final/merged_weight/{prefix}transformer.resblocks.1.attn.q_proj"
        if name in golden:
            merged = tower.blocks[1].attn.merged
            golden.check_trained(name, merged[: merged.shape[1]])


def test_gradients_without_dropout_are_those_of_the_function(golden_folder):
    """The released code's are not: only those of each tower's last block agree."""
    golden = Golden("clip_lora", "both_r2_qkv_dropout0")
    method = build(golden, golden_folder, gradients="exact")
    method.backward(batch(0)[0], batch(0)[1])
    for name, parameter in method.learnt_parameters().items():
        if name.split(".")[1] == "5":
            golden.check(f"grad/{released_name(name)}", parameter.grad)

"""What the fixtures of learnt prompts have in common: losses, gradients, and five optimiser steps on five batches."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from adaptkit import AdaptedCLIP
from tests.helpers.golden import Golden, batch
from trainers.config.training import OptimConfig
from trainers.training.optim import build_optimizer

Names = Mapping[str, str]  # our learnt tensor -> its name in the released code
Batches = Callable[[int], tuple[Tensor, Tensor]]  # step -> what the method consumes, labels


def batches_for(method: AdaptedCLIP, images: slice = slice(None)) -> Batches:
    """The recorded batches as the method consumes them, `images` of each."""

    def take(step: int) -> tuple[Tensor, Tensor]:
        x, labels = batch(step)
        x = x[images]
        return method.backbone.encode_image(x) if method.consumes == "features" else x, labels[images]

    return take


def load_initial(golden: Golden, method: AdaptedCLIP, names: Names) -> None:
    """Start where the recorded run started; the names cover all that is learnt, there and here."""
    assert {f"init/{name}" for name in names.values()} == {name for name in golden.tensors if name.startswith("init/")}
    method.to(torch.get_default_dtype())  # a context that begins with words is float32 in every backbone
    method.load_learnt_state({ours: golden[f"init/{name}"] for ours, name in names.items()})


def check_gradients(golden: Golden, method: AdaptedCLIP, names: Names, batches: Batches) -> None:
    """One `backward` on batch 0 leaves the recorded gradients."""
    method.zero_grad()
    method.backward(*batches(0))
    learnt = method.learnt_parameters()
    for ours, name in names.items():
        gradient = learnt[ours].grad
        assert gradient is not None, f"{ours} has no gradient"
        golden.check(f"grad/{name}", gradient)
    method.zero_grad()


def recorded_optim(golden: Golden) -> OptimConfig:
    """The settings of the recorded optimiser: SGD with momentum, or Adam where they have its epsilon."""
    optim = golden.settings["optim"]
    same = {"lr": optim["LR"], "weight_decay": optim["WEIGHT_DECAY"], "warmup_epochs": 0}
    if "EPS" in optim:
        return OptimConfig(name="adam", adam_eps=optim["EPS"], **same)
    return OptimConfig(momentum=optim["MOMENTUM"], **same)


def check_steps(golden: Golden, method: AdaptedCLIP, names: Names, batches: Batches, loss: str = "loss") -> None:
    """The recorded optimiser on batches 0 to 4 gives the recorded losses, and the tensors after steps 1 and 5."""
    config = recorded_optim(golden)
    learnt = method.learnt_parameters()
    optimizer = build_optimizer(learnt.values(), config)
    losses = []
    for step in range(5):
        optimizer.zero_grad()
        losses.append(method.backward(*batches(step)))
        optimizer.step()
        if step + 1 in (1, 5):
            for ours, name in names.items():
                golden.check_trained(f"step{step + 1}/{name}", learnt[ours])
            if f"step{step + 1}/loss_batch0/{loss}" in golden:
                with torch.no_grad():
                    golden.check_trained(f"step{step + 1}/loss_batch0/{loss}", method.loss(*batches(0)))
    of_steps = f"train_losses/{loss}" if f"train_losses/{loss}" in golden else "train_losses"
    golden.check_trained(of_steps, torch.stack(losses))
    if "step5/logits" in golden:
        golden.check_trained("step5/logits", method.logits(batches(0)[0]))

"""MMA against numbers recorded from its released code (ZjjConan/VLM-MultiModalAdapter c3d0bc2)."""

import pytest
import torch

from adaptkit import create_method
from tests.helpers.golden import Golden, batch, tiny_backbone, variants
from tests.parity.steps import batches_for, check_gradients, load_initial
from trainers.config.training import OptimConfig
from trainers.training.optim import build_optimizer

pytestmark = pytest.mark.usefixtures("dtype")


def build(golden, golden_folder, gradients="released"):
    settings = golden.settings
    return create_method(
        "mma",
        tiny_backbone(settings["clip"], golden_folder),
        settings["classes"],
        bottleneck=settings["adapter_dim"],
        scale=settings["adapter_scale"],
        blocks=tuple(range(settings["adapter_start"] - 1, settings["adapter_end"])),
        gradients=gradients,
        template_set="default",
    )


def released_name(name):
    """text_adapters.2.down.weight -> text_adapter.3.down.0.weight."""
    tower, layer, *part, kind = name.split(".")
    prefix = {"text_adapters": "text", "vision_adapters": "visual", "shared_adapters": "shared"}[tower]
    inside = {("down",): "down.0", ("up",): "up", (): "0"}[tuple(part)]
    return f"{prefix}_adapter.{int(layer) + 1}.{inside}.{kind}"


def learnt_names(method):
    return {name: released_name(name) for name in method.learnt_parameters()}


def train(golden, method, names, batches):
    """SGD on batches 0 to 4 gives the recorded losses, and the recorded tensors after steps 1 and 5."""
    optim = golden.settings["optim"]
    config = OptimConfig(
        lr=optim["LR"], momentum=optim["MOMENTUM"], weight_decay=optim["WEIGHT_DECAY"], warmup_epochs=0
    )
    learnt, losses = method.learnt_parameters(), []
    optimizer = build_optimizer(learnt.values(), config)
    for step in range(5):
        optimizer.zero_grad()
        losses.append(method.backward(*batches(step)))
        optimizer.step()
        for ours, name in names.items() if step in (0, 4) else ():
            golden.check_trained(f"step{step + 1}/{name}", learnt[ours])
    golden.check_trained("train_losses", torch.stack(losses).double())


@pytest.mark.parametrize("variant", variants("mma"))
def test_mma_equals_the_released_code(variant, golden_folder):
    golden = Golden("mma", variant)
    method = build(golden, golden_folder)
    names, batches = learnt_names(method), batches_for(method)
    load_initial(golden, method, names)
    images = batch(0)[0]
    golden.check("image_features", method.backbone.encode_image(images))
    golden.check("text_features", method.prompts.live())
    golden.check("logits", method.logits(images))
    check_gradients(golden, method, names, batches)
    train(golden, method, names, batches)
    method.eval()
    golden.check_trained("eval_logits", method(images))
    method.set_classes(golden.settings["new_classes"])
    golden.check_trained("eval_logits_new", method(images))


@pytest.mark.parametrize("variant", [name for name in variants("mma") if name != "one_layer_scale1"])
def test_gradients_of_the_function_are_smaller_by_the_scale(variant, golden_folder):
    """What the released code multiplies by is one over the scale, in every adapter of both towers."""
    golden = Golden("mma", variant)
    method = build(golden, golden_folder, gradients="exact")
    names = learnt_names(method)
    load_initial(golden, method, names)
    method.backward(*batches_for(method)(0))
    for ours, name in names.items():
        golden.check(f"grad/{name}", method.learnt_parameters()[ours].grad / golden.settings["adapter_scale"])

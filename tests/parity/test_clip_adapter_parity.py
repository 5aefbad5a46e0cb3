"""CLIP-Adapter against numbers recorded from its released code (gaopengcuhk/CLIP-Adapter 08d07f8)."""

import pytest
import torch

from adaptkit import create_method
from tests.helpers.golden import Golden, batch, tiny_backbone, variants

pytestmark = pytest.mark.usefixtures("dtype")


def by_released_name(method):
    return {"fc.0.weight": method.image_adapter[0].weight, "fc.2.weight": method.image_adapter[2].weight}


@pytest.mark.parametrize("variant", variants("clip_adapter"))
def test_clip_adapter_equals_the_released_code(variant, golden_folder):
    golden = Golden("clip_adapter", variant)
    settings = golden.settings
    method = create_method(
        "clip_adapter",
        tiny_backbone(settings["clip"], golden_folder),
        settings["classes"],
        templates=[settings["template"]],
        alpha=settings["ratio"],
        reduction=settings["reduction"],
    )
    learnt = by_released_name(method)
    assert list(method.learnt_parameters().values()) == list(learnt.values())
    with torch.no_grad():
        for name, parameter in learnt.items():
            parameter.copy_(golden[f"init/{name}"])
    features = [method.backbone.encode_image(batch(step)[0]) for step in range(5)]
    golden.check("image_features", features[0])
    golden.check("text_features", method.backbone.encode_text(settings["texts"]))
    golden.check("adapter_output", method.image_adapter(features[0]))
    golden.check("logits", method.logits(features[0]))
    golden.check("logits", method(batch(0)[0]))
    golden.check("loss0/loss", method.backward(features[0], batch(0)[1]))
    for name, parameter in learnt.items():
        golden.check(f"grad/{name}", parameter.grad)

    optim = settings["optim"]
    optimizer = torch.optim.SGD(
        learnt.values(), lr=optim["LR"], momentum=optim["MOMENTUM"], weight_decay=optim["WEIGHT_DECAY"]
    )
    losses = []
    for step in range(5):
        optimizer.zero_grad()
        losses.append(method.backward(features[step], batch(step)[1]))
        optimizer.step()
        if step + 1 in (1, 5):
            for name, parameter in learnt.items():
                golden.check_trained(f"step{step + 1}/{name}", parameter)
            golden.check_trained(f"step{step + 1}/loss_batch0/loss", method.loss(features[0], batch(0)[1]))
    golden.check_trained("train_losses/loss", torch.stack(losses))
    golden.check_trained("step5/logits", method.logits(features[0]))

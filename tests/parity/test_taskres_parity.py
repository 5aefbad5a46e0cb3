"""TaskRes against numbers recorded from its released code (geekyutao/TaskRes 5195359)."""

import pytest
import torch

from adaptkit import create_method
from tests.helpers.golden import Golden, batch, tiny_backbone, variants

pytestmark = pytest.mark.usefixtures("dtype")


@pytest.mark.parametrize("variant", variants("taskres"))
def test_taskres_equals_the_released_code(variant, golden_folder):
    golden = Golden("taskres", variant)
    settings = golden.settings
    imagenet = settings["dataset_key"] == "ImageNet"
    method = create_method(
        "taskres",
        tiny_backbone(settings["clip"], golden_folder),
        settings["classes"],
        templates=settings["templates"][-1:],
        alpha=settings["RESIDUAL_SCALE"],
        template_set="imagenet_selected" if imagenet else "classes",
    )
    golden.check("base_text_features", method.base)
    golden.check("init/text_feature_residuals", method.residual)
    features = [method.backbone.encode_image(batch(step)[0]) for step in range(5)]
    golden.check("image_features", features[0])
    golden.check("logits", method.logits(features[0]))
    golden.check("logits", method(batch(0)[0]))
    golden.check("loss0/loss", method.backward(features[0], batch(0)[1]))
    golden.check("grad/text_feature_residuals", method.residual.grad)

    optim = settings["optim"]
    optimizer = torch.optim.Adam(
        method.learnt_parameters().values(),
        lr=optim["LR"],
        betas=(optim["ADAM_BETA1"], optim["ADAM_BETA2"]),
        weight_decay=optim["WEIGHT_DECAY"],
    )
    losses = []
    for step in range(5):
        optimizer.zero_grad()
        losses.append(method.backward(features[step], batch(step)[1]))
        optimizer.step()
        if step + 1 in (1, 5):
            golden.check_trained(f"step{step + 1}/text_feature_residuals", method.residual)
            golden.check_trained(f"step{step + 1}/loss_batch0/loss", method.loss(features[0], batch(0)[1]))
    golden.check_trained("train_losses/loss", torch.stack(losses))
    golden.check_trained("step5/logits", method.logits(features[0]))

"""GPT4Image against numbers recorded from its released code (huawei-noah/Efficient-Computing 225ddd2)."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adaptkit.objectives.gpt4image import DescriptionLoss, build_head, recorded_optimizer, text_losses
from tests.helpers.golden import Golden, variants

pytestmark = pytest.mark.usefixtures("dtype")
LOSSES = [name for name in variants("gpt4image") if name.startswith("loss_")]
HEADS = [name for name in variants("gpt4image") if name.startswith("head_")]


@pytest.mark.parametrize("variant", LOSSES)
def test_the_text_losses_equal_the_released_code(variant):
    golden = Golden("gpt4image", variant)
    kind, tau = golden.settings["loss_type"], golden.settings["tau"]
    vectors = golden["image_vectors"].clone().requires_grad_()
    loss = text_losses(vectors, golden["text_embeddings"], kind, tau).mean()
    loss.backward()
    golden.check("loss", loss)
    golden.check("grad/image_vectors", vectors.grad)
    golden.check("loss", DescriptionLoss(kind, 1.0, tau)(vectors, golden["text_embeddings"]))


@pytest.mark.parametrize("variant", HEADS)
def test_training_with_a_head_equals_the_released_code(variant):
    golden = Golden("gpt4image", variant)
    settings = golden.settings
    form = "resnet" if settings["bn"] else "deit"
    features, texts, labels = golden["features"], golden["text_embeddings"], golden["labels"]
    model = nn.ModuleDict(
        {
            "fc": nn.Linear(features.shape[2], settings["classes"]),
            "head": build_head(form, features.shape[2], texts.shape[2], settings["hidden"], gelu=settings["gelu"]),
        }
    )
    model.load_state_dict(
        {name.removeprefix("init/"): golden[name] for name in golden.tensors if name.startswith("init/")}, strict=False
    )
    text_loss = DescriptionLoss(settings["loss_type"], settings["lamb"], settings["tau"])
    optimizer, losses = recorded_optimizer(form, *model.values()), []
    for step in range(5):
        optimizer.zero_grad()
        logits, vectors = model["fc"](features[step]), model["head"](features[step])
        first, second = F.cross_entropy(logits, labels[step]), text_loss(vectors, texts[step])
        loss = first + second
        loss.backward()
        losses.append(loss.detach())
        if step == 0:
            golden.check("logits", logits)
            golden.check("vector", vectors)
            golden.check("loss_ce", first)
            golden.check("loss_text", second / settings["lamb"])
            golden.check("loss", loss)
            for name, parameter in model.named_parameters():
                golden.check(f"grad/{name}", parameter.grad)
        optimizer.step()
        if step + 1 in (1, 5):
            for name, parameter in model.named_parameters():
                golden.check_trained(f"step{step + 1}/{name}", parameter)
    golden.check_trained("losses", torch.stack(losses))
    if settings["bn"]:
        golden.check_trained("running_mean", model["head"][1].running_mean)
        golden.check_trained("running_var", model["head"][1].running_var)
    model.eval()
    golden.check_trained("vector_eval", model["head"](features[0]))

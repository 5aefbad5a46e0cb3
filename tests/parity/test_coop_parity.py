"""CoOp against numbers recorded from its released code (KaiyangZhou/CoOp ff61507)."""

import pytest
import torch
import torch.nn.functional as F

from adaptkit import create_method
from tests.helpers.golden import Golden, batch, tiny_backbone, variants
from trainers.config.training import OptimConfig
from trainers.training.optim import build_optimizer, learning_rate

pytestmark = pytest.mark.usefixtures("dtype")


def build(golden, golden_folder):
    settings = golden.settings
    backbone = tiny_backbone(settings["clip"], golden_folder)
    method = create_method(
        "coop",
        backbone,
        settings["classes"],
        n_ctx=settings["n_ctx"],
        ctx_init=settings["ctx_init"],
        class_specific=settings["csc"],
        class_token_position=settings["class_token_position"],
    )
    return backbone, method


def optim_of(settings):
    optim = settings["optim"]
    return OptimConfig(
        lr=optim["LR"],
        momentum=optim["MOMENTUM"],
        weight_decay=optim["WEIGHT_DECAY"],
        epochs=optim["MAX_EPOCH"],
        warmup_epochs=max(0, optim["WARMUP_EPOCH"]),
        warmup_cons_lr=optim["WARMUP_CONS_LR"],
    )


@pytest.mark.parametrize("variant", variants("coop"))
def test_coop_equals_the_released_code(variant, golden_folder):
    golden = Golden("coop", variant)
    backbone, method = build(golden, golden_folder)
    if golden.settings["ctx_init"]:
        golden.check("init/ctx", method.context.ctx)
    method.to(torch.get_default_dtype())  # a context that begins with words is float32 in every backbone
    with torch.no_grad():
        method.context.ctx.copy_(golden["init/ctx"])
    features = [backbone.encode_image(batch(step)[0]) for step in range(5)]
    if "logits" in golden:
        golden.check("image_features", features[0])
        golden.check("text_features", method.context())
        golden.check("logits", method.logits(features[0]))
        golden.check("logits", method(batch(0)[0]))
        loss = method.loss(features[0], batch(0)[1])
        golden.check("loss0/loss", loss)
        (gradient,) = torch.autograd.grad(loss, method.context.ctx)
        golden.check("grad/ctx", gradient)

    optim = optim_of(golden.settings)
    optimizer = build_optimizer(method.learnt_parameters().values(), optim)
    batches_per_epoch = golden.settings.get("batches_per_epoch", 5)
    losses, rates = [], []
    for step in range(len(golden["train_losses/loss"])):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(optim, step // batches_per_epoch)
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        losses.append(method.backward(features[step % 5], batch(step % 5)[1]))
        optimizer.step()
        if f"step{step + 1}/ctx" in golden:
            golden.check_trained(f"step{step + 1}/ctx", method.context.ctx)
            golden.check_trained(f"step{step + 1}/loss_batch0/loss", method.loss(features[0], batch(0)[1]))
        epoch, left = divmod(step + 1, batches_per_epoch)
        if left == 0 and f"epoch{epoch}/ctx" in golden:
            golden.check_trained(f"epoch{epoch}/ctx", method.context.ctx)
    golden.check_trained("train_losses/loss", torch.stack(losses))
    if "lr_per_step" in golden:
        golden.check("lr_per_step", torch.tensor(rates, dtype=torch.float64))
        after = learning_rate(optim, optim.epochs)
        golden.check("lr_after_last_epoch", torch.tensor([after], dtype=torch.float64))


def test_coop_from_words_is_zero_shot_with_those_words(golden_folder):
    golden = Golden("coop", "vit_ctxinit_end")
    backbone, method = build(golden, golden_folder)
    zero_shot = create_method("zero_shot", backbone, golden.settings["classes"], templates=["a photo of a {}."])
    torch.testing.assert_close(method.class_weights(), zero_shot.class_weights(), rtol=0, atol=1e-6)


def test_no_tower_gets_a_gradient(golden_folder):
    backbone, method = build(Golden("coop", "vit_nctx4_end"), golden_folder)
    images, labels = batch(0)
    F.cross_entropy(method(images), labels).backward()
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert method.context.ctx.grad is not None

"""PromptSRC against numbers recorded from its released code (muzairkhattak/PromptSRC bb95c77)."""

import pytest
import torch

from adaptkit import create_method
from adaptkit.layers.epoch_average import gaussian_weights
from adaptkit.prompts.promptsrc import TEMPLATES, mean_template_features
from tests.helpers.golden import Golden, tiny_backbone
from tests.parity.steps import batches_for, check_gradients, check_steps, load_initial
from trainers.config.training import OptimConfig
from trainers.training.optim import build_optimizer, learning_rate, set_learning_rate

pytestmark = pytest.mark.usefixtures("dtype")


def learnt_names(depth):
    later = range(1, depth)
    return {
        "context.ctx": "prompt_learner.ctx",
        "vision_prompts.0": "image_encoder.VPT",
        **{f"vision_prompts.{i}": f"image_encoder.transformer.resblocks.{i}.VPT_shallow" for i in later},
        **{f"text_prompts.{i - 1}": f"text_encoder.transformer.resblocks.{i}.VPT_shallow" for i in later},
    }


def build(golden, golden_folder):
    settings, released = golden.settings, golden.settings["trainer_cfg"]
    method = create_method(
        "promptsrc",
        tiny_backbone(settings["clip"], golden_folder),
        settings["classes"],
        n_ctx_text=released["N_CTX_TEXT"],
        n_ctx_vision=released["N_CTX_VISION"],
        depth_text=released["PROMPT_DEPTH_TEXT"],
        depth_vision=released["PROMPT_DEPTH_VISION"],
        ctx_init=released["CTX_INIT"],
        text_weight=released["TEXT_LOSS_WEIGHT"],
        image_weight=released["IMAGE_LOSS_WEIGHT"],
        average_mean=released["GPA_MEAN"],
        average_std=released["GPA_STD"],
    )
    golden.check("init/prompt_learner.ctx", method.context.ctx)
    names = learnt_names(released["PROMPT_DEPTH_TEXT"])
    load_initial(golden, method, names)
    return method, names


def test_promptsrc_equals_the_released_code(golden_folder):
    golden = Golden("promptsrc", "v4t4_depth3")
    method, names = build(golden, golden_folder)
    backbone, batches = method.backbone, batches_for(method)
    images, labels = batches(0)
    assert set(TEMPLATES) == set(golden.settings["templates"])
    teacher = mean_template_features(backbone, method.classes)
    golden.check("fixed_embeddings", teacher)
    golden.check("zero_shot_image_features", backbone.encode_image(images))
    golden.check("zero_shot_logits", backbone.logits(backbone.encode_image(images), teacher))
    golden.check("image_features", backbone.encode_image(images, dict(enumerate(method.vision_prompts))))
    golden.check("text_features", method.context(deep=dict(enumerate(method.text_prompts, start=1))))
    golden.check("logits", method.logits(images))
    terms = method.losses(images, labels)
    golden.check("losses/ce", terms["labels"])
    golden.check("losses/scl_text", terms["text"])
    golden.check("losses/scl_image", terms["image"])
    golden.check("losses/scl_logits", terms["logits"])
    golden.check("loss0/loss", method.loss(images, labels))
    check_gradients(golden, method, names, batches)
    check_steps(golden, method, names, batches)


def test_the_average_over_epochs_equals_the_released_code(golden_folder):
    golden = Golden("promptsrc", "v4t4_depth3_gpa3")
    method, names = build(golden, golden_folder)
    golden.check("fixed_embeddings", mean_template_features(method.backbone, method.classes))
    batches, optim = batches_for(method), golden.settings["optim"]
    config = OptimConfig(
        lr=optim["LR"],
        momentum=optim["MOMENTUM"],
        weight_decay=optim["WEIGHT_DECAY"],
        epochs=optim["MAX_EPOCH"],
        warmup_epochs=optim["WARMUP_EPOCH"],
        warmup_cons_lr=optim["WARMUP_CONS_LR"],
    )
    optimizer = build_optimizer(method.learnt_parameters().values(), config)
    method.train()
    losses, rates = [], []
    for epoch in range(config.epochs):
        set_learning_rate(optimizer, learning_rate(config, epoch))
        for _ in range(golden.settings["batches_per_epoch"]):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.zero_grad()
            losses.append(method.backward(*batches(len(losses) % 5)))
            optimizer.step()
        method.after_epoch(epoch)
        for ours, name in names.items():
            golden.check_trained(f"epoch{epoch + 1}/{name}", method.learnt_parameters()[ours])
    method.eval()
    for ours, name in names.items():
        golden.check_trained(f"gpa/{name}", method.learnt_state()[ours])
    golden.check_trained("train_losses/loss", torch.stack(losses))
    golden.check("lr_per_step", torch.tensor(rates, dtype=torch.float64))


def test_the_weights_of_the_epochs_equal_the_released_code():
    for variant in ("v4t4_depth3", "v4t4_depth3_gpa3"):
        golden = Golden("promptsrc", variant)
        settings = golden.settings["trainer_cfg"]
        epochs = range(1, golden.settings["optim"]["MAX_EPOCH"] + 1)
        golden.check("gauss_weights", gaussian_weights(epochs, settings["GPA_MEAN"], settings["GPA_STD"]))

"""2SFS against numbers recorded from its released code (FarinaMatteo/rethinking_fewshot_vlms 64ac143)."""

import pytest
import torch

from adaptkit import create_method
from tests.helpers.golden import Golden, batch, tiny_backbone, variants
from trainers.config.training import OptimConfig
from trainers.training.few_shot import train
from trainers.training.optim import build_optimizer, set_learning_rate, step_learning_rate

pytestmark = pytest.mark.usefixtures("dtype")
FOLDER = "twostage_2sfs"


def build(golden, golden_folder):
    settings = golden.settings
    return create_method(
        "two_stage",
        tiny_backbone(settings["clip"], golden_folder),
        settings["classes"],
        templates=[settings["template"]],
        share=settings["n_iters_frac"],
        tuning=settings["peft"],
        encoder=settings["modality"],
        text_start=settings["text_start"],
        vision_start=settings["vision_start"],
    )


def optim_of(golden) -> OptimConfig:
    settings, optim = golden.settings, golden.settings["optim"]
    return OptimConfig(
        name="adamw",
        lr=optim["LR"],
        weight_decay=optim["WEIGHT_DECAY"],
        adam_eps=optim["EPS"],
        steps=settings["n_iters"] * settings["shots"],
        lr_scheduler="cosine_steps",
        min_lr=1e-6,
        warmup_epochs=0,
    )


def released_name(name):
    """text_tuned.3.c_fc.bias -> transformer.resblocks.3.mlp.c_fc.bias."""
    tower, *path = name.split(".")
    prefix = {"text_tuned": "", "vision_tuned": "visual."}[tower]
    if not path[0].isdigit():
        return prefix + ".".join(path)
    layer, part, kind = path
    part = {"c_fc": "mlp.c_fc", "c_proj": "mlp.c_proj", "out_proj": "attn.out_proj"}.get(part, part)
    return f"{prefix}transformer.resblocks.{layer}.{part}.{kind}"


def tuned(method):
    return {released_name(name): tensor for name, tensor in method.learnt_parameters().items() if name != "classifier"}


def batches_of(golden):
    """Batches of all steps: each stage begins with the first one again."""
    first, second = golden.settings["stage1_steps"], golden.settings["stage2_steps"]
    return [batch(step % 5) for steps in (first, second) for step in range(steps)]


@pytest.mark.parametrize("variant", variants(FOLDER))
def test_both_stages_equal_the_released_code(variant, golden_folder):
    golden = Golden(FOLDER, variant)
    method, optim = build(golden, golden_folder), optim_of(golden)
    first = golden.settings["stage1_steps"]
    stages = method.begin_training(optim.steps)
    assert stages == (first, golden.settings["stage2_steps"])
    assert sorted(tuned(method)) == sorted(golden.settings["stage1_trained"])
    optimizer = build_optimizer(method.learnt_parameters().values(), optim)
    method.train()
    rates, losses = [], []
    for step, (images, labels) in enumerate(batches_of(golden)):
        stage, number = (1, step) if step < first else (2, step - first)
        check = golden.check if step == 0 else golden.check_trained
        rates.append(step_learning_rate(optim, step, 0, optim.steps, stages))
        set_learning_rate(optimizer, rates[-1])
        method.before_step(step)
        if step == first:
            golden.check_trained("text_features_after_stage1", method.backbone.encode_text(texts_of(golden)))
            golden.check_trained("stage2/init/classifier", method.classifier)
        if number == 0:
            check(f"stage{stage}/logits", method.logits(images))
        optimizer.zero_grad()
        losses.append(method.backward(images, labels))
        learnt = tuned(method) if stage == 1 else {"classifier": method.classifier}
        for name, parameter in learnt.items():
            if number == 0 and f"stage{stage}/grad/{name}" in golden:
                check(f"stage{stage}/grad/{name}", parameter.grad)
        optimizer.step()
        for name, parameter in learnt.items():
            if number == 0 and f"stage{stage}/step1/{name}" in golden:
                golden.check_trained(f"stage{stage}/step1/{name}", parameter)
    for stage, part in ((1, slice(first)), (2, slice(first, None))):
        golden.check(f"stage{stage}/lr_per_step", torch.tensor(rates[part], dtype=torch.float64))
        golden.check_trained(f"stage{stage}/train_losses", torch.stack(losses[part]))
    check_end(golden, method.eval())


def texts_of(golden):
    return [golden.settings["template"].format(name.replace("_", " ")) for name in golden.settings["classes"]]


def check_end(golden, method):
    """What is learnt, and the answers for classes of the training, others, and both together."""
    for name, parameter in {**tuned(method), "classifier": method.classifier}.items():
        stage = 2 if name == "classifier" else 1
        golden.check_trained(f"stage{stage}/last/{name}", parameter)
    images, settings = batch(0)[0], golden.settings
    with torch.no_grad():
        golden.check_trained("eval_logits", method(images))
        for name, classes in (("new", settings["new_classes"]), ("mixed", settings["mixed_classes"])):
            method.set_classes(classes)
            golden.check_trained(f"eval_logits_{name}", method(images))


@pytest.mark.parametrize("variant", variants(FOLDER))
def test_the_training_loop_ends_where_the_released_code_does(variant, golden_folder):
    golden = Golden(FOLDER, variant)
    method = build(golden, golden_folder)
    train(method, batches_of(golden), optim_of(golden))
    check_end(golden, method)


def test_texts_are_those_of_the_released_code(golden_folder):
    for variant in variants(FOLDER):
        golden = Golden(FOLDER, variant)
        backbone = tiny_backbone(golden.settings["clip"], golden_folder)
        assert torch.equal(backbone.tokenize(texts_of(golden)), golden["token_ids"].long())
